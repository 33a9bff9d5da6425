"""Kills a delivery at every boundary of its steps, and runs it again: ``python kills.py FOLDER ROUTE ADDRESS STEP``.

A boundary is the call or the return of a function that evaluates, records or sends, also of those of the standard
library that connect, send a request and read its answer. Each kill is of a process of its own, on a fresh copy of the
warehouse; its outcomes are printed as one JSON line.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import duckdb

from csm_core.publishing.alerts.publish import alert_day
from csm_core.warehouse.alert_settings import AlertRoute, AlertRule, AlertSettings
from tests.publishing.alerts.made_up import day

WATCHED = ("publish.py", "delivery.py", "ledger.py", "states.py", "webhook.py", "mail.py", "digests_of_day.py")
WATCHED_OF_LIBRARY = {
    "client.py": {"connect", "endheaders", "send", "getresponse", "begin", "close"},
    "smtplib.py": {"connect", "ehlo", "mail", "rcpt", "docmd", "putcmd", "send", "getreply", "quit"},
    "file_access.py": {"make_folder", "give_group"},
}


def route_of(kind: str, folder: Path, address: str, kill: int) -> AlertRoute:
    """The route of a kind. What the receiver gets says which kill it belongs to."""
    if kind == "smtp":
        return AlertRoute(
            to=kind,
            host="127.0.0.1",
            port=int(address),
            security="none",
            sender=f"kill-{kill}@example.com",
        )
    if kind == "email_draft":
        return AlertRoute(to=kind, folder=folder / "drafts")
    key = {"key_env": "KEY"} if kind == "webhook" else {}
    return AlertRoute(to=kind, webhook_env="WEBHOOK", **key)


def is_boundary(frame: FrameType) -> bool:
    path, name = Path(frame.f_code.co_filename), frame.f_code.co_name
    if path.parent.name == "alerts":
        return path.name in WATCHED
    return name in WATCHED_OF_LIBRARY.get(path.name, ())


def run(folder: Path, route: AlertRoute, address: str, kill_at: int | None) -> int:
    """Alert in a process of its own, killed at a boundary; returns the number of boundaries, 0 if it was killed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        boundaries = 0

        def watch(frame: FrameType, event: str, _argument: Any) -> None:
            nonlocal boundaries
            if event in ("call", "return") and is_boundary(frame):
                boundaries += 1
                if boundaries == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        rule = AlertRule(name="turned_red", when="rag = 'RED'")
        settings = AlertSettings(built_in_rules=False, rules=(rule,), routes=(route,))
        with duckdb.connect(str(folder / "w.duckdb")) as connection:
            sys.setprofile(watch)
            alert_day(
                connection,
                settings,
                day(0),
                day(1),
                clock=lambda: datetime(2026, 7, 1, tzinfo=UTC),
                environment={"WEBHOOK": address, "KEY": "a-key-of-the-webhook"},
                pause_seconds=0.001,
            )
            sys.setprofile(None)
        os.write(writing, str(boundaries).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as counted:
        text = counted.read()
    os.waitpid(child, 0)
    return int(text or 0)


def outcome(folder: Path) -> dict[str, Any]:
    """What is left after the second run. The warehouse is read in a process of its own, too: DuckDB does not fork."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with duckdb.connect(str(folder / "w.duckdb"), read_only=True) as connection:
            found = {
                "states": connection.execute(
                    "select account_id, state, notified_on::varchar from sync.alert_states order by all"
                ).fetchall(),
                "events": connection.execute("select count(*) from sync.alert_events").fetchall(),
                "digests": connection.execute(
                    "select digest_id, status from sync.alert_digests order by all"
                ).fetchall(),
            }
        os.write(writing, json.dumps(found).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as written:
        text = written.read()
    os.waitpid(child, 0)
    return {**json.loads(text), "drafts": sorted(path.name for path in folder.glob("drafts/*"))}


def main() -> None:
    start, kind, address, step = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    boundary, last = 0, 1
    while boundary < last:
        folder = start.parent / f"kill_{boundary}"
        shutil.copytree(start, folder)
        route = route_of(kind, folder, address, boundary)
        # Without a kill, the run counts the boundaries.
        counted = run(folder, route, f"{address}/{boundary}", boundary or None)
        last = counted if boundary == 0 else last
        run(folder, route, f"{address}/{boundary}", None)
        print(json.dumps({"kill": boundary, **outcome(folder)}), flush=True)
        shutil.rmtree(folder)
        boundary += 1 if boundary == 0 else step


if __name__ == "__main__":
    main()
