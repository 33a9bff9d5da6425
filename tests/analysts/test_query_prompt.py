"""The prompt of csm sql: queries over several lines, history, completion, and errors that do not end it."""

import contextlib
import os
import pty
import signal
import stat
import subprocess
import threading

import duckdb
import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from csm_core.analysts.query_prompt import NameCompleter, Names, PromptOptions, history_file, is_complete, run_prompt
from csm_core.errors import InputError
from csm_core.warehouse.database import Warehouse
from tests.conftest import CSM

CTRL_C, CTRL_D, UP = "\x03", "\x04", "\x1b[A"


@pytest.fixture
def warehouse(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    one = Warehouse(tmp_path / "csm.duckdb")
    one.published_path.parent.mkdir()
    with duckdb.connect(str(one.published_path)) as connection:
        connection.execute("create schema marts")
        connection.execute("create schema sync")
        connection.execute(
            "create table marts.csm_overview as select range as score, 'x' as account_name from range(3)"
        )
        connection.execute("create table marts.csm_days as select range as day, 'complete' as status from range(3)")
        connection.execute("create table sync.notion_pages as select 1 as page")
    return one


def typed(warehouse, keys, **options):
    """What the prompt shows and reports for these keys."""
    shown, reported = [], []
    with create_pipe_input() as keyboard:
        keyboard.send_text(keys)
        run_prompt(
            warehouse,
            PromptOptions(**{"form": "csv", **options}),
            shown.append,
            reported.append,
            terminal=(keyboard, DummyOutput()),
        )
    return shown, reported


@pytest.mark.parametrize("leaving", [r"\q", "exit", "quit;", "EXIT", CTRL_D])
def test_it_ends_on_request(warehouse, leaving):
    assert typed(warehouse, f"select 1 as n;\r{leaving}\r") == (["n\n1\n"], [])


def test_enter_runs_a_query_that_ends_with_a_semicolon(warehouse):
    keys = "select count(*) as n\rfrom csm_overview\rwhere account_name <> ';'\r;\r\r\r" + CTRL_D
    assert typed(warehouse, keys) == (["n\n3\n"], [])


def test_errors_and_control_c_do_not_end_it(warehouse):
    keys = (
        f"from csm_nothing;\rselect 1; select 2;\rfrom read_csv('/etc/passwd');\rsele{CTRL_C}select 4 as n;\r{CTRL_D}"
    )
    shown, reported = typed(warehouse, keys)
    assert shown == ["n\n4\n"]
    assert [text.partition("\n")[0] for text in reported] == [
        "the query was rejected: there is no table csm_nothing.",
        "the query was rejected: expected one SQL statement, found 2. Run each statement on its own.",
        "the query was rejected: the table function read_csv is not allowed: it reads or changes more than the "
        "published copy",
    ]


def test_control_c_cancels_the_running_query(warehouse):
    threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    endless = "select count(*) from range(1000000000) as a, range(1000000000) as b;"
    shown, reported = typed(warehouse, f"{endless}\rselect 2 as n;\r{CTRL_D}")
    assert (shown, reported) == (["n\n2\n"], ["cancelled"])


def test_a_query_reads_the_newest_copy(warehouse):
    fresh = warehouse.published_path.with_name("fresh.duckdb")
    with duckdb.connect(str(fresh)) as connection:
        connection.execute("create schema marts")
        connection.execute("create table marts.csm_overview as select 1 as score")
    counted = "select count(*) as n from csm_overview;\r"
    shown = []
    with create_pipe_input() as keyboard:
        keyboard.send_text(counted)

        def show(text):
            shown.append(text)
            if len(shown) == 1:
                fresh.replace(warehouse.published_path)
                keyboard.send_text(f"{counted}{CTRL_D}")

        run_prompt(warehouse, PromptOptions("csv"), show, shown.append, terminal=(keyboard, DummyOutput()))
    assert shown == ["n\n3\n", "n\n1\n"]


def test_the_history_is_kept_for_its_owner_alone(warehouse):
    typed(warehouse, f"select 1 as n;\r{CTRL_D}")
    file = history_file()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    file.chmod(0o644)
    assert typed(warehouse, f"{UP}\r{CTRL_D}") == (["n\n1\n"], [])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_it_works_without_a_place_for_the_history(warehouse, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert typed(warehouse, f"select 1 as n;\r{CTRL_D}") == (["n\n1\n"], [])


def test_it_does_not_start_without_a_copy(tmp_path):
    with pytest.raises(InputError, match="there is no published copy"):
        typed(Warehouse(tmp_path / "none.duckdb"), CTRL_D)


@pytest.mark.parametrize(
    ("text", "complete"),
    [
        ("", True),
        ("select 1;", True),
        ("select 1; -- comment", True),
        ("select ';' as text ;\n", True),
        ("select 1", False),
        ("select ';'", False),
        ("select ';", False),
        ("select 1 -- ;", False),
        ("select 'é' as text;", True),
        (r" \q ", True),
        ("exit", True),
    ],
)
def test_a_semicolon_outside_of_texts_and_comments_completes_a_query(text, complete):
    assert is_complete(text) is complete


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("from csm_ov", "csm_overview"),
        ("from sync.no", "sync.notion_pages"),
        ("from csm_days where sta", "status"),
        ("from csm_overview where csm_overview.acc", "account_name"),
        ("sel", "select"),
        ("from csm_overview order by SCO", "score"),
    ],
)
def test_names_are_completed(warehouse, text, first):
    with duckdb.connect(str(warehouse.published_path), read_only=True) as connection:
        completer = NameCompleter(Names.of(connection))
    found = list(completer.get_completions(Document(text), CompleteEvent()))
    assert found[0].text == first
    assert text.lower().endswith(first[: -found[0].start_position])
    assert list(completer.get_completions(Document(f"{text} "), CompleteEvent())) == []


def test_csm_sql_starts_it_on_a_terminal(warehouse, tmp_path):
    (tmp_path / "csm.yaml").write_text(f"warehouse: {warehouse.path}\n")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "CSM_CONFIG": str(tmp_path / "csm.yaml"), "TERM": "xterm"}
    started = subprocess.Popen(
        [*CSM, "sql", "--format", "csv"], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    os.write(ours, b"select count(*) as rows_of_overview\rfrom csm_overview;\rexit\r")
    output = b""
    with contextlib.suppress(OSError):  # the terminal ends with the process
        while more := os.read(ours, 65_536):
            output += more
    os.close(ours)
    assert started.wait(timeout=60) == 0
    assert b"csm> " in output
    assert b"rows_of_overview\r\n3\r\n" in output
