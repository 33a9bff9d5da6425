"""The data of the tools for one account, for policies, for the backtest and for queries. Reads the published copy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb

from csm_core.analysts.backtest.figures import backtest_figures
from csm_core.analysts.backtest.options import BacktestOptions
from csm_core.analysts.backtest.reading import read_backtest
from csm_core.analysts.explain_account import explain_account, find_account
from csm_core.analysts.query_process import query_in_process
from csm_core.analysts.whatif import what_if as compare_policies
from csm_core.config import Policy
from csm_core.errors import InputError, RunError
from csm_core.publishing.assistant.answers import UNTRUSTED, Answer, based_on
from csm_core.warehouse.catalog import table_exists
from csm_core.warehouse.day_status import require_newest
from csm_core.warehouse.rows import fetch_dicts

MAX_ROWS = 1000
MAX_CHARACTERS = 25_000
_LAST = "marts.csm_health_last"
_MOST = 10
# Of other types, such as VARCHAR or JSON, a value can be text that people wrote.
_OWN_TYPES = ("ENUM", "BOOLEAN", "DATE", "TIME", "INTERVAL", "DECIMAL", "DOUBLE", "FLOAT", "UUID")
_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")


def account(connection: duckdb.DuckDBPyConnection, name: str) -> Answer:
    """The latest row of an account in ``csm_health_last``, with its renewals, changes of band and opportunities."""
    require_newest(connection)
    tenant_id, account_id = find_account(connection, name)
    found = _rows_of(connection, account_id, _LAST, "*")
    if not found:
        message = f"the published copy has no row of {account_id} in {_LAST}"
        raise InputError(message)
    (latest,) = found
    day = latest["as_of_date"]
    opportunities = _rows_of(
        connection,
        account_id,
        "marts.csm_expansion_opportunities",
        "as_of_date, opportunity_type, subject, evidence, estimated_arr_impact, currency, confidence",
        "as_of_date desc, opportunity_type, subject",
    )
    data = {
        **latest,
        "renewals": _rows_of(
            connection, account_id, "marts.csm_renewals", "renewal_date, days_to_renewal, mrr, currency", "renewal_date"
        ),
        "band_changes": _rows_of(
            connection,
            account_id,
            "marts.csm_rag_transitions",
            "settled_on, changed_on, from_rag, to_rag, score_change, top_signal, top_signal_change",
            "settled_on desc",
        ),
        "opportunities": [one for one in opportunities if one["as_of_date"] == day],
    }
    return based_on(connection, day, data, (tenant_id, account_id))


def explain(connection: duckdb.DuckDBPyConnection, name: str, as_of: date | None, known_at: datetime | None) -> Answer:
    """The report of ``csm explain``."""
    report = explain_account(connection, name, as_of, None, known_at)
    day = report.day
    found = based_on(connection, day.as_of_date, report.as_dict(), (day.tenant_id, day.account_id))
    return replace(found, config_hash=day.config_hash)


def explain_change(connection: duckdb.DuckDBPyConnection, name: str, since: date, as_of: date | None) -> Answer:
    """The report of ``csm explain --since``."""
    report = explain_account(connection, name, as_of, since)
    day = report.day
    return based_on(connection, day.as_of_date, report.as_dict(), (day.tenant_id, day.account_id))


def what_if(
    connection: duckdb.DuckDBPyConnection,
    policies: Sequence[Policy],
    days: tuple[date | None, date | None],
    accounts: tuple[int, int],
) -> Answer:
    """The report of ``csm whatif``, with ``accounts`` (limit, offset) of the accounts that would change."""
    report = compare_policies(connection, policies, *days)
    data = report.as_dict()
    limit, offset = accounts
    shown: list[Any] = data["accounts"]
    data["accounts_total"] = len(shown)
    data["accounts"] = shown[offset : offset + limit]
    return based_on(connection, report.days[-1].as_of_date if report.days else require_newest(connection), data)


def backtest(connection: duckdb.DuckDBPyConnection, options: BacktestOptions, *, advise: bool) -> Answer:
    """The report of ``csm backtest``."""
    figures = backtest_figures(read_backtest(connection, options), with_advice=advise)
    data = figures.as_dict()
    found = based_on(connection, date.fromisoformat(str(data["last_date"])), data)
    # The report has numbers, and sentences made of them.
    return replace(found, basis=str(data["basis"]), is_separated=True)


def sql(connection: duckdb.DuckDBPyConnection, copy: Path, query: str, seconds: float) -> Answer:
    """The rows of a SELECT, as ``csm sql --json`` has them; every text is apart, except values of fixed lists."""
    # The process opens the file again; the day of the answer is that of the connection.
    opened = copy.stat().st_ino
    result = query_in_process(copy, query, seconds=seconds, max_rows=MAX_ROWS, max_characters=MAX_CHARACTERS)
    if copy.stat().st_ino != opened:
        message = "a run replaced the published copy during the query: run the query again"
        raise RunError(message)
    own = [_is_own(kind) for _, kind in result.columns]
    rows: list[dict[str, Any]] = []
    for values in result.rows:
        named = list(zip(result.columns, values, own, strict=True))
        row: dict[str, Any] = {name: value for (name, _), value, is_own in named if is_own}
        text = {name: value for (name, _), value, is_own in named if not is_own}
        rows.append({**row, UNTRUSTED: text} if text else row)
    columns = [{"name": name, "type": kind.partition("(")[0]} for name, kind in result.columns]
    found = based_on(connection, require_newest(connection), {"columns": columns, "rows": rows})
    return replace(found, is_separated=True)


def _is_own(kind: str) -> bool:
    if kind.endswith("]"):
        return False
    return kind.startswith(_OWN_TYPES) or kind in _INTEGERS


def _rows_of(
    connection: duckdb.DuckDBPyConnection, account_id: str, table: str, columns: str, order: str = "as_of_date"
) -> list[dict[str, Any]]:
    """The first rows of one account; none if the copy, of an earlier version, does not have the table."""
    if not table_exists(connection, table):
        return []
    sql = f"select {columns} from {table} where account_id = $account order by {order} limit {_MOST}"
    return fetch_dicts(connection, sql, {"account": account_id})
