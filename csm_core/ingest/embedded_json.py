"""Parses objects that records contain as JSON text (``"properties": "{\\"page\\": 1}"``).

Files and landed tables may write an object of a record as text. After a load, the object replaces the text, so that
staging models read its values under one path. A record with text that is not JSON is removed and reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from csm_core.contract import RECORD
from csm_core.ingest.raw_tables import JsonText, RawTable, opened_columns
from csm_core.warehouse.models import literal

_CHOSEN = "rowid in (select unnest(cast(? as bigint[])))"


@dataclass(frozen=True)
class NotJson:
    """A rejected record: the text in ``path`` is not a JSON object or list."""

    file: str
    line: int
    path: str
    value: str
    text: str


def embed(connection: duckdb.DuckDBPyConnection, target: RawTable, load_id: int) -> list[NotJson]:
    """Replace JSON text with its value in the records of a load; returns the removed records.

    ``target.json_texts`` are the paths; an outer object precedes the objects in it.
    """
    # A single scan: few records have text in one of the paths.
    paths = ", ".join(literal(f"$.{one.path}") for one in target.json_texts)
    candidates = connection.execute(
        f"select rowid from {target.table} where _load_id = ? "
        f"and list_contains(json_type({RECORD}, [{paths}]), 'VARCHAR')",
        [load_id],
    ).fetchall()
    rowids = [rowid for (rowid,) in candidates]
    rejected: list[NotJson] = []
    for one in target.json_texts if rowids else ():
        rejected += _embed_one(connection, target, rowids, one)
    return rejected


def _embed_one(
    connection: duckdb.DuckDBPyConnection, target: RawTable, rowids: Sequence[int], one: JsonText
) -> list[NotJson]:
    path = literal(f"$.{one.path}")
    value = f"json_extract_string({RECORD}, {path})"
    candidates = (
        f"from {target.table} where {_CHOSEN} and json_type({RECORD}, {path}) = 'VARCHAR' and is_given({value})"
    )
    candidates += f" and {one.where}" if one.where else ""
    # In a field that may also contain plain text, only text that begins with a brace is JSON.
    candidates += f" and starts_with(trim({value}), '{{')" if one.may_be_text else ""
    rows = connection.execute(
        f"select rowid, _source_file, _source_line, {value}, "
        f"coalesce(json_type(case when json_valid({value}) then {value} end) in ('OBJECT', 'ARRAY'), false), {RECORD} "
        f"{candidates} order by rowid",
        [rowids],
    ).fetchall()
    valid = [row[0] for row in rows if row[4]]
    invalid = [
        NotJson(file, line, one.path, text, record) for _, file, line, text, is_json, record in rows if not is_json
    ]
    if valid:
        # The innermost value of the patch is the parsed text.
        patch = f"cast({value} as json)"
        for name in reversed(one.path.split(".")):
            patch = f"json_object({literal(name)}, {patch})"
        merged = f"cast(json_merge_patch({RECORD}, {patch}) as varchar)"
        connection.execute(f"update {target.table} set {RECORD} = {merged} where {_CHOSEN}", [valid])
        if target.opened:
            opened = (item.rpartition(" as ") for item in opened_columns(target.opened, RECORD))
            columns = ", ".join(f"{name} = {expression}" for expression, _, name in opened)
            connection.execute(f"update {target.table} set {columns} where {_CHOSEN}", [valid])
    if invalid:
        removed = [row[0] for row in rows if not row[4]]
        connection.execute(f"delete from {target.table} where {_CHOSEN}", [removed])
    return invalid
