"""Calls of Segment whose objects are JSON text, whole or broken, through the loader."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from csm_core.sources.segment import SEGMENT
from csm_core.sources.settings import SegmentSettings
from csm_core.warehouse.database import Warehouse
from tests.way_in import START, SilentLog

OBJECTS: dict[str, dict[str, Any]] = {
    "properties": {"page": "billing", "note": 'a "quoted" {brace}', "n": 1},
    "context": {"groupId": "g1", "traits": {"company": {"id": "c1"}}},
    "traits": {"plan": "pro"},
    "user": {"id": "u1"},
}
BROKEN = ("{bad", "{", '{"a": }', "{'a': 1}", '{"a": 1', "{]}")


def mutate(folder: Path, records: int, seed: int) -> tuple[int, list[str]]:
    """Write and load calls; returns how many there were, and those that were not read as their objects state."""
    chance = random.Random(seed)
    folder.mkdir(parents=True)
    wanted: dict[str, str | dict[str, Any]] = {}
    calls: list[dict[str, Any]] = []
    for number in range(records):
        path = chance.choice(list(OBJECTS))
        call = {"type": "track", "messageId": f"m{number}", "event": "Viewed", **OBJECTS}
        wanted[call["messageId"]] = dict(OBJECTS)
        if number % 3 == 1:
            call[path] = json.dumps(call[path])
        elif number % 3 == 2:
            call[path] = chance.choice(BROKEN)
            wanted[call["messageId"]] = f"{path} is not a JSON object: {call[path]}"
        calls.append(call)
    (folder / "events.jsonl").write_text("".join(f"{json.dumps(call)}\n" for call in calls), encoding="utf-8")
    with Warehouse(folder / "csm.duckdb", threads=2).connect() as connection:
        source = SegmentSettings(system="segment", path=folder)
        SEGMENT.load(connection, [source], loaded_at=START, folder=folder, log=SilentLog())
        found: dict[str, Any] = {
            name: {key: json.loads(record)[key] for key in OBJECTS}
            for name, record in connection.execute("select message_id, record from raw.segment__events").fetchall()
        }
        for detail, text in connection.execute("select detail, raw_text from raw.unparseable_rows").fetchall():
            found[json.loads(text)["messageId"]] = detail
    wrong = [f"{name}: expected {wanted[name]}, found {found.get(name)}" for name in wanted]
    return len(wanted), [line for name, line in zip(wanted, wrong, strict=True) if found.get(name) != wanted[name]]
