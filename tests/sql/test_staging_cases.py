"""Given records, expected staged rows: ``tests/sql/staging/<system>/stg_<entity>.yml``, one file per model.

A case states the records of the system's raw tables by their names without ``raw.<system>__`` (a mapping is one record;
``_source`` and ``_loaded_at`` in it are bookkeeping), the settings of its sources, what the files of identity say, and
the rows expected of the staging model, in the order of its key; columns left out are not looked at. A record with a
later ``_loaded_at`` belongs to a later load. ``accounts`` are the staged accounts of a model that reads them,
``sources_loaded`` is the time of the latest load of all sources. ``ignored`` counts the rows that are left out by the
name of their setting or rule, ``rejected`` lists field, reason and value of the records that do not parse.
"""

import json
from collections import Counter
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from pydantic import TypeAdapter

from csm_core.accounts import account_map
from csm_core.accounts.account_map import externals_table
from csm_core.config import Config
from csm_core.contract import ENTITIES, IGNORED
from csm_core.ingest.raw_tables import opened_columns
from csm_core.sources.registry import get_system, record_kinds, system_names
from csm_core.sources.settings import AnySource
from csm_core.sources.source_settings import record_source_load, write_source_settings
from csm_core.staging.vendor_records import REJECTED_RECORDS, build_records
from csm_core.warehouse.catalog import identifier
from csm_core.warehouse.materialize import build_model
from csm_core.warehouse.models import SQL_ROOT, SqlModel, staging_models, staging_steps
from tests.sql.harness import fresh, staged

FOLDER = Path(__file__).parent / "staging"
# These systems' models are tested in test_staging_models.py.
ELSEWHERE = {"files", "ravenstack", "notion", "postgres", "spark"}
CASES = [
    pytest.param(file.parent.name, file.stem.removeprefix("stg_"), case, id=f"{file.parent.name} {case['case']}")
    for file in sorted(FOLDER.glob("*/*.yml"))
    for case in yaml.safe_load(file.read_text(encoding="utf-8"))["cases"]
]


@pytest.mark.parametrize(("system", "entity", "case"), CASES)
def test_a_staging_model_gives_the_expected_rows(system: str, entity: str, case: dict[str, Any]) -> None:
    stated = case.get("sources", [{"system": system, "path": "in"}])
    config = Config(sources=TypeAdapter(tuple[AnySource, ...]).validate_python(stated))
    with fresh() as connection:
        for table in get_system(system).raw_tables:
            connection.execute(
                "create or replace temp table given (record varchar, _source varchar, _source_file varchar, "
                "_source_line bigint, _loaded_at timestamp, _load_id bigint)"
            )
            for line, given in enumerate(case["given"].get(table.name, []), start=1):
                record = dict(given)
                loaded_at = str(record.pop("_loaded_at", "2026-07-01"))
                load_id = date.fromisoformat(loaded_at).toordinal()
                kept = [record.pop("_source", system), "f", line, loaded_at, load_id]
                connection.execute(
                    "insert into given values (?, ?, ?, ?, ?, ?)", [json.dumps(record, default=str), *kept]
                )
            columns = ", ".join(["*", *opened_columns(table.opened, "record")])
            connection.execute(f"create table {table.table} as select {columns} from given")
        unknown = set(case["given"]) - {table.name for table in get_system(system).raw_tables}
        assert not unknown, unknown
        write_source_settings(connection, system, config.sources)
        sources_loaded = datetime.fromisoformat(str(case.get("sources_loaded", "2026-07-01")))
        record_source_load(connection, system, sources_loaded.replace(tzinfo=UTC))
        staged(
            connection, "accounts", *({"account_name": "A", "tenant_id": "t"} | one for one in case.get("accounts", []))
        )
        build_steps(connection, system, entity)
        given_identity(connection, case.get("identity", {}))
        account_map.build(connection, config, [system])
        cursor = connection.execute(staging_models(system)[entity].sql)
        names = [column[0] for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        rejected = connection.execute(
            f"select field, reason, value from {REJECTED_RECORDS} order by raw_table, source_line"
        ).fetchall()
    found = [row for row in rows if row.get(IGNORED) is None]
    assert Counter(row[IGNORED] for row in rows if row.get(IGNORED) is not None) == case.get("ignored", {})
    assert [list(row) for row in rejected] == case.get("rejected", [])
    expected = case["expect"]
    looked_at = [
        {column: plain(row[column]) for column in wanted} for row, wanted in zip(found, expected, strict=False)
    ]
    assert looked_at == [{column: plain(value) for column, value in wanted.items()} for wanted in expected]
    assert len(found) == len(expected)


def build_steps(connection: duckdb.DuckDBPyConnection, system: str, entity: str | None = None) -> None:
    """Build what stands between a system's raw tables and a staging model, or all of them, or the account map."""
    if record_kinds(system):
        build_records(connection, system, record_kinds(system), get_system(system).raw_tables)
    steps = staging_steps(system)
    models = staging_models(system)
    wanted = models.values() if entity is None else [models[entity]]
    read = {externals_table(system)}.union(*(model.dependencies for model in wanted))
    while read < (more := read.union(*(step.dependencies for step in steps.values() if step.table in read))):
        read = more
    for step in in_order(steps):
        if step.table in read:
            build_model(connection, step, {})


def in_order(steps: dict[str, SqlModel]) -> list[SqlModel]:
    """Steps after those that they read."""
    ordered: list[SqlModel] = []
    while len(ordered) < len(steps):
        built = {step.table for step in ordered}
        own = {step.table for step in steps.values()}
        ordered += [step for step in steps.values() if step not in ordered and step.dependencies & own <= built]
    return ordered


def given_identity(connection: Any, stated: dict[str, list[dict[str, str]]]) -> None:
    """What the files of identity say: rows of ``account_map`` and ``account_domains``."""
    for table in (account_map.MAP_TABLE, account_map.DOMAIN_TABLE):
        columns = ", ".join(f"{identifier(name)} varchar" for name in (*table.required, *table.optional))
        connection.execute(f"create table {table.table} ({columns}, _source_file varchar, _source_line bigint)")
        for row in stated.get(table.name, []):
            connection.execute(
                f"insert into {table.table} ({', '.join(row)}) values ({', '.join('?' * len(row))})", list(row.values())
            )


def plain(value: Any) -> Any:
    """Times as ISO text and amounts as numbers, whichever way the file spells them."""
    if isinstance(value, (date, datetime)):
        return value.isoformat(" ") if isinstance(value, datetime) else value.isoformat()
    return float(value) if isinstance(value, Decimal) else value


def test_every_vendor_model_has_its_file() -> None:
    models = {
        f"{path.parent.name}/{path.stem}"
        for path in (SQL_ROOT / "staging").glob("*/stg_*.sql")
        if path.parent.name not in ELSEWHERE
    }
    assert {f"{file.parent.name}/{file.stem}" for file in FOLDER.glob("*/*.yml")} == models
    assert {path.stem for path in (SQL_ROOT / "staging").glob("*/stg_*.sql")} <= {f"stg_{name}" for name in ENTITIES}


@pytest.mark.parametrize("system", sorted(set(system_names()) - ELSEWHERE))
def test_steps_are_named_after_their_system(system: str) -> None:
    assert all(name.startswith(f"{system}_") for name in staging_steps(system))
