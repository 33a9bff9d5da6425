"""Loads records of a web API into a table, with a source of csm-health and with a plain dlt pipeline.

Both request the same pages in the same run. The floor is dlt's REST client with its DuckDB destination. By default, dlt
writes nested values to separate tables; a second variant keeps them as JSON, like csm-health.
"""

import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dlt
import duckdb
import requests
import structlog
from dlt.sources.helpers.rest_client import RESTClient
from dlt.sources.helpers.rest_client.paginators import JSONResponseCursorPaginator

from benchmarks.api_pages import PAGE, TICKETS, serving
from benchmarks.measure import Measure, timed
from csm_core.config import Config
from csm_core.sources.settings import ZendeskApi, ZendeskSettings
from csm_core.sources.zendesk import ZENDESK
from csm_core.warehouse.database import Warehouse


def run(rows: int) -> list[Measure]:
    """Pull ``rows`` tickets, about 1.4 KB each, over loopback."""
    os.environ.update(ZENDESK_TOKEN="none", RUNTIME__DLTHUB_TELEMETRY="false", RUNTIME__LOG_LEVEL="ERROR")
    with tempfile.TemporaryDirectory() as folder, serving(rows) as url:
        place = Path(folder)
        fetched = timed(lambda: _fetch(url))
        ours = timed(lambda: _ours(url, place, rows))
        nested = timed(lambda: _bare(url, place, rows, name="nested", max_table_nesting=0))
        floor = timed(lambda: _bare(url, place, rows, name="spread"))
    return [
        Measure("api", "floor: bare dlt run into DuckDB", rows, floor, 1.0),
        Measure("api", "bare dlt run, nested kept as JSON", rows, nested, nested / floor),
        Measure("api", "pulled into raw", rows, ours, ours / floor),
        Measure("api", "fetching alone", rows, fetched, fetched / floor),
    ]


def _fetch(url: str) -> None:
    with requests.Session() as session:
        cursor, more = "0", True
        while more:
            answer = session.get(url + TICKETS, params={"cursor": cursor}, timeout=60).content
            more = b'"end_of_stream": false' in answer[-100:]
            cursor = str(int(cursor) + 1)


def _ours(url: str, folder: Path, rows: int) -> None:
    source = ZendeskSettings(system="zendesk", api=ZendeskApi(base_url=url, login="oauth"))
    with Warehouse.from_config(Config(warehouse=folder / "ours.duckdb", sources=(source,))).connect() as connection:
        log = structlog.get_logger("csm_core")
        ZENDESK.load(connection, [source], loaded_at=datetime.now(UTC), folder=folder / "sources", log=log)
        _require(connection, "raw.zendesk__tickets", rows)


def _bare(url: str, folder: Path, rows: int, *, name: str, **options: Any) -> None:
    client = RESTClient(url, paginator=JSONResponseCursorPaginator(cursor_path="after_cursor", cursor_param="cursor"))

    @dlt.resource(name="tickets", **options)
    def tickets() -> Any:
        fetched = 0
        for page in client.paginate(TICKETS, data_selector="tickets"):
            yield page
            fetched += len(page)
            if len(page) < PAGE or fetched >= rows:
                return

    database = folder / f"{name}.duckdb"
    pipeline = dlt.pipeline(
        pipeline_name=name,
        pipelines_dir=str(folder / "pipelines"),
        destination=dlt.destinations.duckdb(str(database)),
        dataset_name="bare",
    )
    pipeline.run(tickets(), loader_file_format="parquet")
    with duckdb.connect(str(database), read_only=True) as connection:
        _require(connection, "bare.tickets", rows)


def _require(connection: duckdb.DuckDBPyConnection, table: str, rows: int) -> None:
    actual = connection.execute(f"select count(*) from {table}").fetchone()
    if actual != (rows,):
        message = f"{table} has {actual} rows, not {rows}"
        raise RuntimeError(message)
