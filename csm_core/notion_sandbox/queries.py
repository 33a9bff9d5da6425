"""Queries of a data source: filter, order, paging by opaque cursors, and the cap on how far paging goes."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from csm_core.notion_sandbox.errors import invalid
from csm_core.notion_sandbox.filters import SOURCE, Sort, compile_filter, compile_sorts
from csm_core.notion_sandbox.properties import Schema
from csm_core.notion_sandbox.store import Row, Store


@dataclass(frozen=True)
class Query:
    """What is asked: ``size`` results to a page, at most ``limit`` over all pages."""

    filter: Any
    sorts: Any
    cursor: Any
    size: int
    in_trash: bool
    limit: int


@dataclass(frozen=True)
class Found:
    """One page of results; ``incomplete`` on every page of a query that more pages match than it lists."""

    rows: list[Row]
    next_cursor: str | None
    incomplete: bool


def run_query(store: Store, source: Row, schema: Schema, asked: Query) -> Found:
    """One page of a query.

    In the order of creation, and by one time of the page, paging goes by key and every page costs the same; any
    other order is paged by counting.
    """
    condition = compile_filter(asked.filter, schema)
    sorts = compile_sorts(asked.sorts, schema)
    column, descending = _paging_key(sorts)
    state = _read_cursor(asked.cursor, source["id"])
    where = f"source = ? and in_trash = ? and ({condition.sql})"
    parameters: list[Any] = [source["seq"], int(asked.in_trash), *(_bound(condition.parameters, source["seq"]))]
    offset = 0
    if column is None:
        offset = state["seen"]
        order = ", ".join([*(sort.sql for sort in sorts), "pages.seq"])
        parameters.extend(parameter for sort in sorts for parameter in sort.parameters)
    else:
        sign, word = ("<", "desc") if descending else (">", "asc")
        order = f"{column} {word}, pages.seq {word}"
        if state["key"] is not None:
            where += f" and ({column}, pages.seq) {sign} (?, ?)"
            parameters.extend(state["key"])
    capped = state["capped"]
    if state["seen"] == 0:
        capped = bool(store.pages_where(where, parameters, order, 1, asked.limit))
    room = min(asked.size, asked.limit - state["seen"])
    rows = store.pages_where(where, parameters, order, room + 1, offset)
    more = len(rows) > room
    rows = rows[:room]
    seen = state["seen"] + len(rows)
    if not more or seen >= asked.limit:
        return Found(rows, None, incomplete=capped or more)
    key = None if column is None else [rows[-1][column.removeprefix("pages.")], rows[-1]["seq"]]
    return Found(rows, _write_cursor(source["id"], seen, key, capped), incomplete=capped)


def _paging_key(sorts: list[Sort]) -> tuple[str | None, bool]:
    if not sorts:
        return "pages.seq", False
    if len(sorts) == 1 and sorts[0].timestamp is not None:
        return sorts[0].timestamp, sorts[0].descending
    return None, False


def _bound(parameters: tuple[Any, ...], source: int) -> list[Any]:
    return [source if parameter is SOURCE else parameter for parameter in parameters]


def _write_cursor(source_id: str, seen: int, key: list[Any] | None, capped: bool) -> str:
    text = json.dumps({"source": source_id, "seen": seen, "key": key, "capped": capped}, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode()


def _read_cursor(cursor: Any, source_id: str) -> dict[str, Any]:
    if cursor is None:
        return {"seen": 0, "key": None, "capped": False}
    try:
        state = json.loads(base64.urlsafe_b64decode(cursor))
        if state["source"] == source_id and state["seen"] >= 0 and isinstance(state["capped"], bool):
            return state
    except (TypeError, ValueError, KeyError, binascii.Error):
        pass
    raise invalid(f"The start_cursor provided is invalid: {cursor}")
