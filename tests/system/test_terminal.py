"""Output for people holds no control characters; data in a pipe is left as it is."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from datetime import date

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from csm_core.analysts.published_copy import publish_copy
from csm_core.publishing.notion.apply import Report
from csm_core.publishing.notion.ledger import Change
from csm_core.publishing.notion.plan import Plan
from csm_core.publishing.notion.report_text import plan_lines, report_lines
from csm_core.scoring.macros import create_macros
from csm_core.system.terminal import CleanStream, clean, clean_output, write_data, write_rewritten_line
from csm_core.warehouse.database import Warehouse
from tests.conftest import CSM

EVIL = "\x1b[2J\x1b]0;pwn\x07\x9b31m\u202e"


@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("\x1b\x07\x9b\x7f\r\u202e\ud800"))))
def test_nothing_that_is_written_controls_the_terminal(text):
    raw = io.StringIO()
    CleanStream(raw).write(text)
    written = raw.getvalue()
    assert all(character in "\n\t" or ord(character) >= 32 for character in written)
    assert not any("\x7f" <= character <= "\x9f" for character in written)
    written.encode()
    assert len(written) == len(text)
    assert clean(written) == written


def test_everything_that_is_printed_is_cleaned(capsys):
    with clean_output():
        print(f"name {EVIL}")
        sys.stderr.write(EVIL)
        write_rewritten_line(f"asset {EVIL}")
        sys.stdout.writelines([EVIL, "end\n"])
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out
    assert shown.err.count("\x1b") == shown.err.count("\r\x1b[K") == 1
    assert not set(shown.out + shown.err) & set("\x07\x9b\u202e")


def test_data_is_unchanged_in_a_pipe(capsys):
    with clean_output():
        write_data(EVIL)
    assert capsys.readouterr().out == EVIL


@pytest.fixture
def evil_company(tmp_path):
    (tmp_path / "csm.yaml").write_text("warehouse: csm.duckdb\n")
    warehouse = Warehouse(tmp_path / "csm.duckdb")
    with warehouse.connect() as connection:
        connection.execute("create table marts.names as select ? as name", [EVIL])
    publish_copy(warehouse, create_macros)
    return tmp_path


@pytest.mark.parametrize("form", ["csv", "json", "table"])
def test_csm_sql_on_a_terminal_and_in_a_pipe(evil_company, form):
    command = [*CSM, "sql", "select name from names", "--format", form]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CSM_")}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    piped = subprocess.run(command, cwd=evil_company, env=environment, capture_output=True, check=True)
    main, other = pty.openpty()
    with subprocess.Popen(command, cwd=evil_company, env=environment, stdout=other, stderr=other) as process:
        os.close(other)
        shown = b""
        while True:
            try:
                part = os.read(main, 65536)
            except OSError:  # the terminal is closed
                break
            if not part:
                break
            shown += part
        assert process.wait() == 0, shown
    os.close(main)
    assert b"\x1b" not in shown
    assert b"\x07" not in shown
    if form == "csv":
        assert EVIL.encode() in piped.stdout
    else:
        assert form == "table" or b"\x1b" not in piped.stdout
    with duckdb.connect(str(evil_company / "published" / "csm_analytics.duckdb"), read_only=True) as connection:
        assert connection.execute("select name from marts.names").fetchall() == [(EVIL,)]


def test_plans_and_reports_of_publishing_show_names_without_control_characters():
    day = date(2026, 6, 30)
    named = {"orphans": [EVIL], "trashed": [EVIL], "changed_ids": [EVIL], "drift": [EVIL]}
    plan = Plan(day, ("health",), [], {}, problems=[("health", EVIL, EVIL)], **named)
    failed = Change("health", EVIL, "failed", None, EVIL)
    report = Report("r", day, {}, {}, {"health": 0}, 0, 0, [failed], 0, 0.0, changed_ids=[EVIL])
    for line in [*plan_lines(plan), *report_lines(report)]:
        assert line.isprintable(), line
