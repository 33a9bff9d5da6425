"""Events that are stored together: nobody misses one, and one that cannot be stored does not take others with it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from dagster import EventLogEntry

from pipelines.open_sqlite import EventLog

RUN = "a-run"


def entry(text: str) -> EventLogEntry:
    return EventLogEntry(
        error_info=None, level=20, user_message=text, run_id=RUN, timestamp=time.time(), step_key=None, job_name=None
    )


def texts(log: EventLog) -> list[str]:
    return [record.event_log_entry.user_message for record in log.get_records_for_run(RUN).records]


@pytest.fixture
def log(tmp_path):
    log = EventLog(str(tmp_path))
    yield log
    log.dispose()


def test_events_are_read_in_order_at_once_here_and_soon_elsewhere(log, tmp_path):
    for number in range(5):
        log.store_event(entry(f"{number}"))
    assert texts(log) == ["0", "1", "2", "3", "4"]
    log.store_event(entry("5"))
    other = EventLog(str(tmp_path))
    ends = time.monotonic() + 20
    while len(found := texts(other)) < 6 and time.monotonic() < ends:
        time.sleep(0.05)
    other.dispose()
    assert found == ["0", "1", "2", "3", "4", "5"]


def test_many_events_do_not_wait_for_the_time(log, tmp_path):
    for number in range(200):
        log.store_event(entry(f"{number}"))
    other = EventLog(str(tmp_path))
    assert len(texts(other)) == 200
    other.dispose()


def test_an_event_that_cannot_be_stored_is_reported_and_the_others_are_stored(log):
    log.store_event(entry("before"))
    log.store_event(entry("broken")._replace(timestamp=float("nan")))
    log.store_event(entry("after"))
    with pytest.raises(ValueError, match="not a number"):
        texts(log)
    assert texts(log) == ["before", "after"]


def test_a_process_that_ends_stores_what_waits(tmp_path):
    code = (
        "import sys; sys.path[:0] = sys.argv[2:]\n"
        "from pipelines.open_sqlite import EventLog\n"
        "from tests.pipelines.test_open_sqlite import entry\n"
        "EventLog(sys.argv[1]).store_event(entry('last'))\n"
        "raise SystemExit(3)"
    )
    root = Path(__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path), str(root)], cwd=root, check=False)
    log = EventLog(str(tmp_path))
    assert (ended.returncode, texts(log)) == (3, ["last"])
    log.dispose()
