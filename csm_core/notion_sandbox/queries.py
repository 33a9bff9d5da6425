"""Queries of a data source: filter, order, paging with opaque cursors, and the limit on the number of results."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from csm_core.notion_sandbox.errors import invalid
from csm_core.notion_sandbox.filters import SOURCE, Sort, compile_filter, compile_sorts
from csm_core.notion_sandbox.properties import Schema
from csm_core.notion_sandbox.store import Store
from csm_core.notion_sandbox.store_file import Row


@dataclass(frozen=True)
class Query:
    """A query with ``size`` results per page and at most ``limit`` results on all pages."""

    filter: Any
    sorts: Any
    cursor: Any
    size: int
    in_trash: bool
    limit: int


@dataclass(frozen=True)
class Found:
    """One page of results; ``incomplete`` is true on every page if more results match than the query lists."""

    rows: list[Row]
    next_cursor: str | None
    incomplete: bool


def run_query(store: Store, source: Row, schema: Schema, query: Query) -> Found:
    """One page of a query.

    A query in order of creation, or with one timestamp sort, uses keyset paging, in which every page costs the same;
    any other order uses an offset.
    """
    condition = compile_filter(query.filter, schema)
    sorts = compile_sorts(query.sorts, schema)
    column, descending = _paging_key(sorts)
    state = _read_cursor(query.cursor, source["id"])
    where = f"source = ? and in_trash = ? and ({condition.sql})"
    parameters: list[Any] = [source["seq"], int(query.in_trash), *(_bound(condition.parameters, source["seq"]))]
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
        capped = bool(store.pages.where(where, parameters, order, 1, query.limit))
    room = min(query.size, query.limit - state["seen"])
    rows = store.pages.where(where, parameters, order, room + 1, offset)
    more = len(rows) > room
    rows = rows[:room]
    seen = state["seen"] + len(rows)
    if not more or seen >= query.limit:
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
