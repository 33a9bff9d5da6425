"""Every account of the example company, on ordinary days and on edges of the year, against the plain-Python oracle."""

import shutil
from datetime import date

import duckdb
import pytest

from tests.conftest import Company
from tests.golden import oracle

DAYS = (date(2026, 1, 31), date(2026, 3, 1), date(2026, 6, 30), date(2026, 7, 1), date(2026, 9, 29), date(2026, 9, 30))


@pytest.fixture(scope="module")
def company(acme, tmp_path_factory):
    """A copy of the example company, since the test adds days to its tables."""
    folder = shutil.copytree(acme.folder, tmp_path_factory.mktemp("oracle") / "company")
    return Company(folder, folder / "csm.yaml")


@pytest.mark.parametrize("day", DAYS, ids=str)
def test_every_signal_of_every_account_is_what_the_definitions_say(company, day):
    # Loaded once with all files, so every day here is a past day that must not see later records.
    from csm_core.rubric import weight_parameters
    from csm_core.scoring.score_days import KEYS
    from csm_core.warehouse.database import Warehouse
    from csm_core.warehouse.materialize import build_model
    from csm_core.warehouse.models import load_models

    parameters = {**company.config.sql_parameters(), **weight_parameters()}
    models = load_models("intermediate")
    with Warehouse.from_config(company.config).connect() as connection:
        build_model(connection, models["int_account_days"], parameters, (day, day))
        for name, model in models.items():
            if model.partitioned and name != "int_account_days":
                build_model(connection, model, parameters, (day, day))
        build_model(connection, load_models("marts")["csm_health_signals"], parameters, (day, day))
    with duckdb.connect(str(company.config.warehouse), read_only=True) as connection:
        records = oracle.Records(connection)
        cursor = connection.execute("select * from marts.csm_health_signals where as_of_date = ?", [day])
        names = [column[0] for column in cursor.description]
        found = {row[1]: dict(zip(names, row, strict=True)) for row in cursor.fetchall()}
    population = oracle.population(records, day)
    assert found.keys() == {account["account_id"] for account in population}
    assert len(population) > 100
    for account in population:
        wanted = oracle.signals(records, account, day)
        row = {name: value for name, value in found[account["account_id"]].items() if name not in (*KEYS, "known_from")}
        assert row == wanted, account["account_id"]
