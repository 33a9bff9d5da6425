"""A range that is built in parts, since it has many accounts and days, has the tables of one that is built at once."""

from datetime import date

import pytest

from csm_core.warehouse import materialize
from pipelines.run import run_days
from tests.conftest import make_company, tables
from tests.pipelines.test_known_scores import FILES, WIDE


def test_a_range_in_parts_has_the_same_tables(tmp_path, monkeypatch: pytest.MonkeyPatch):
    records = tmp_path / "records"
    records.mkdir()
    for name, content in FILES.items():
        (records / name).write_text(content, encoding="utf-8")
    found = []
    for at_once in (materialize.ACCOUNT_DAYS_AT_ONCE, 1):
        company = make_company(tmp_path, records, checks=WIDE, partitions_start="2026-06-01")
        monkeypatch.setenv("DAGSTER_HOME", str(company.folder / "dagster_home"))
        monkeypatch.setattr(materialize, "ACCOUNT_DAYS_AT_ONCE", at_once)
        outcome = run_days(company.config, (date(2026, 6, 10), date(2026, 6, 29)), publish=False)
        assert outcome.succeeded, outcome
        assert company.query("select count(distinct as_of_date) from marts.csm_health_scores") == [(20,)]
        found.append(tables(company.config.warehouse))
    assert found[0].keys() == found[1].keys()
    differing = [name for name in found[0] if found[0][name] != found[1][name]]
    assert differing == []
