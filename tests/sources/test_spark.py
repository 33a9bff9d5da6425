"""The settings of the source spark, and how its small tables are loaded; a DuckDB stands in for Spark."""

from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
import yaml

from csm_core.config import load_config
from csm_core.errors import ConfigError, SourceError
from csm_core.logging import get_logger
from csm_core.sources.spark import SparkSource
from csm_core.sources.spark_settings import SparkSettings
from csm_core.warehouse.database import Warehouse
from csm_core.warehouse.models import staging_models
from csm_core.warehouse.remote_session import EngineQueryError

ENGINE = {"kind": "spark", "master": "local[2]", "location": "/tables"}
EVENTS = {
    "system": "spark",
    "entity": "usage_events",
    "table": "product.events",
    "columns": {"event_id": "id", "account_id": "org_id", "event_name": "name", "occurred_at": "ts"},
}
FILES = {"system": "files", "path": "/records", "entities": ["accounts", "features"]}


def configured(folder: Path, *sources: dict, **settings: object):
    file = folder / "csm.yaml"
    file.write_text(yaml.safe_dump({"engine": ENGINE, "sources": list(sources), **settings}), encoding="utf-8")
    return load_config(file, {})


def test_events_on_spark_and_the_rest_in_files(tmp_path):
    files, events = configured(tmp_path, FILES, EVENTS).sources
    assert isinstance(events, SparkSettings)
    assert (files.label, events.label) == ("files", "spark_usage_events")
    assert events.columns["account_id"] == "org_id"


def test_a_table_for_each_entity_needs_no_names(tmp_path):
    accounts = {"system": "spark", "entity": "accounts", "path": "s3a://bucket/accounts"}
    assert len(configured(tmp_path, accounts, EVENTS).sources) == 2


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"columns": {"event": "id"}}, "usage_events has no column 'event'; did you mean 'event_id'?"),
        ({"entity": "usage"}, "not an entity: usage"),
        ({"path": "/events"}, "set either table"),
        ({"table": None}, "set either table"),
        ({"table": None, "path": "events/*.parquet"}, "expected an absolute path or an address"),
        ({"columns": {"event_id": 1}}, "YAML reads 1 without quotes as a number"),
        ({"tabel": "x"}, "did you mean 'table'?"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, changed, message):
    with pytest.raises(ConfigError) as raised:
        configured(tmp_path, FILES, EVENTS | changed)
    assert message in str(raised.value)


def test_the_engine_must_be_spark(tmp_path):
    with pytest.raises(ConfigError, match=r"set engine: \{kind: spark\}"):
        configured(tmp_path, FILES, EVENTS, engine={"kind": "duckdb"})


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"system": "files", "path": "/records"}, "set its `entities: [accounts, features]`"),
        ({"system": "segment", "path": "/segment"}, "from spark_usage_events and from segment; remove one of them"),
        ({"system": "ravenstack", "path": "/raven"}, "and from ravenstack"),
        ({"system": "postgres", "queries": {"usage_events": {"sql": "select 1"}}}, "and from postgres"),
        ({**EVENTS, "name": "more_events"}, "and from more_events"),
    ],
)
def test_usage_events_come_from_spark_alone(tmp_path, other, message):
    with pytest.raises(ConfigError) as raised:
        configured(tmp_path, EVENTS, other)
    assert message in str(raised.value)
    assert "could not be recognised as one" in str(raised.value)


class Catalog:
    """A DuckDB with the part of a session that a source uses."""

    def __init__(self) -> None:
        self.connection = duckdb.connect()
        self.connection.execute("create schema product")
        self.connection.execute("create schema source")

    def show_source(self, name: str, *, table: str | None = None, path: str | None = None) -> dict[str, str]:
        try:
            described = self.connection.execute(f"describe {table}").fetchall()
        except duckdb.CatalogException as error:
            raise EngineQueryError(str(error).splitlines()[0]) from None
        self.connection.execute(f"create or replace view {name} as from {table}")
        return {column: kind for column, kind, *_ in described}

    def query(self, sql: str, values: dict) -> object:
        return self.connection.sql(sql).to_arrow_table()


@pytest.fixture
def catalog():
    one = Catalog()
    one.connection.execute(
        "create table product.orgs as select 'a' || range as id, 'Company ' || range as \"Account Name\", "
        "timestamp '2026-01-01' as created_at, {'k': 1} as extra from range(3)"
    )
    return one


def settings_of(**changed: object) -> SparkSettings:
    stated = {"system": "spark", "entity": "accounts", "table": "product.orgs", "columns": {"account_id": "id"}}
    return SparkSettings.model_validate(stated | changed)


def load(catalog: Catalog, connection: duckdb.DuckDBPyConnection, folder: Path, **changed: object):
    source = SparkSource(lambda: catalog)
    results = source.load(
        connection, [settings_of(**changed)], loaded_at=datetime.now(UTC), folder=folder, log=get_logger("test")
    )
    return next(one for one in results if one.entity == "accounts")


def test_a_small_table_is_loaded_once_for_each_content(catalog, tmp_path):
    with Warehouse(tmp_path / "csm.duckdb").connect() as connection:
        assert load(catalog, connection, tmp_path).loaded == 3
        assert load(catalog, connection, tmp_path).load_id is None
        # The order of the rows is no change.
        catalog.connection.execute("create or replace table product.orgs as from product.orgs order by id desc")
        assert load(catalog, connection, tmp_path).load_id is None
        catalog.connection.execute("delete from product.orgs where id = 'a0'")
        assert load(catalog, connection, tmp_path).loaded == 2
        staged = connection.execute(f"select account_id from ({staging_models('spark')['accounts'].sql})").fetchall()
    assert staged == [("a1",), ("a2",)]


def test_an_emptied_table_is_not_loaded_unless_it_may_be_empty(catalog, tmp_path):
    with Warehouse(tmp_path / "csm.duckdb").connect() as connection:
        load(catalog, connection, tmp_path)
        catalog.connection.execute("delete from product.orgs")
        with pytest.raises(SourceError, match=r"product\.orgs has no rows, but had rows before"):
            load(catalog, connection, tmp_path)
        assert connection.execute("select count(*) from raw.spark__accounts").fetchone() == (3,)
        load(catalog, connection, tmp_path, may_be_empty=True)
        assert connection.execute("select count(*) from raw.spark__accounts").fetchone() == (0,)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"table": "product.org"}, r"spark_accounts: Spark cannot read product.org: .*Check `table`"),
        ({"columns": {"account_id": "org"}}, r"there is no column 'org', which `columns` names for account_id"),
        ({"columns": {}}, r"required column missing: account_id \(is it 'id'\?\).*Name them under `columns`"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(catalog, changed, message):
    with pytest.raises(SourceError, match=message):
        SparkSource(lambda: catalog).check(settings_of(**changed))


def test_a_table_is_checked_without_its_rows(catalog):
    assert SparkSource(lambda: catalog).check(settings_of()).startswith("product.orgs: Spark reads accounts")


def test_usage_events_have_no_raw_table_and_no_model():
    assert "usage_events" not in {table.entity for table in SparkSource().raw_tables}
    assert "usage_events" not in staging_models("spark")
    assert "accounts" in staging_models("spark")
