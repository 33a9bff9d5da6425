"""The prompt of ``csm sql``: statements over several lines until a semicolon, history, and completion of names."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from csm_core.analysts.queries import open_for_queries, run_query
from csm_core.errors import CSMError
from csm_core.warehouse.database import Warehouse

if TYPE_CHECKING:
    from prompt_toolkit.document import Document
    from prompt_toolkit.input import Input
    from prompt_toolkit.output import Output

PROMPT, CONTINUED = "csm> ", "...> "
_LEAVE = frozenset((r"\q", "exit", "quit"))
_WORD = re.compile(r"[\w.]+$")


@dataclass(frozen=True)
class PromptOptions:
    """How the queries of a prompt run and are shown; see ``query_published``."""

    form: str = "table"
    unsafe: bool = False
    timeout: float | None = None


def history_file() -> Path:
    """The file of the history: ``csm-health/sql_history`` in $XDG_STATE_HOME, by default ~/.local/state."""
    given = os.environ.get("XDG_STATE_HOME", "")
    base = Path(given) if Path(given).is_absolute() else Path.home() / ".local" / "state"
    return base / "csm-health" / "sql_history"


def run_prompt(
    warehouse: Warehouse,
    options: PromptOptions,
    show: Callable[[str], None],
    report: Callable[[str], None],
    *,
    terminal: tuple[Input, Output] | None = None,
) -> None:
    r"""Read and run queries until ``\q``, ``exit``, ``quit`` or Ctrl-D.

    Each query opens the copy again, so it reads the newest one. Results go to ``show``, errors to ``report``; neither
    an error nor Ctrl-C, which cancels the query, ends the prompt. ``terminal`` replaces the terminal of the process.
    Raises InputError if there is no published copy when the prompt starts.
    """
    with open_for_queries(warehouse, unsafe=options.unsafe) as connection:
        names = Names.of(connection)
    session: PromptSession[str] = PromptSession(
        PROMPT,
        multiline=True,
        prompt_continuation=CONTINUED,
        history=_history(),
        completer=NameCompleter(names),
        complete_while_typing=False,
        key_bindings=_bindings(),
        input=terminal[0] if terminal else None,
        output=terminal[1] if terminal else None,
    )
    while True:
        try:
            text = session.prompt().strip()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        command = text.rstrip("; ").lower()
        if command in _LEAVE:
            return
        if not command:
            continue
        try:
            show(_cancellable(warehouse, text, options))
        except KeyboardInterrupt:
            report("cancelled")
        except (CSMError, duckdb.Error) as error:
            report(str(error))


def is_complete(text: str) -> bool:
    """Whether Enter runs the text: it ends with a semicolon, not within a text or a comment, or it is a command."""
    stripped = text.strip()
    if not stripped or stripped.lower() in _LEAVE:
        return True
    tokens = [start for start, kind in duckdb.tokenize(text) if kind != duckdb.token_type.comment]
    return bool(tokens) and text.encode()[tokens[-1] :].lstrip().startswith(b";")


def _cancellable(warehouse: Warehouse, query: str, options: PromptOptions) -> str:
    """Run a query in a thread, so that Ctrl-C, which only the main thread receives, can interrupt it."""
    answers: list[str] = []
    errors: list[BaseException] = []
    ended = threading.Event()
    cancelled = False
    with open_for_queries(warehouse, unsafe=options.unsafe) as connection:

        def run() -> None:
            try:
                answers.append(
                    run_query(connection, query, options.form, unsafe=options.unsafe, timeout=options.timeout)
                )
            except BaseException as error:  # noqa: BLE001  # raised again in the main thread
                errors.append(error)
            finally:
                ended.set()

        threading.Thread(target=run, daemon=True).start()
        # Not join: after Ctrl-C, Python can take a running thread for ended.
        while not ended.is_set():
            try:
                ended.wait()
            except KeyboardInterrupt:
                cancelled = True
                connection.interrupt()
    if cancelled:
        raise KeyboardInterrupt
    if errors:
        raise errors[0]
    return answers[0]


@dataclass(frozen=True)
class Names:
    """The names that can be completed: columns by table, and keywords."""

    columns: Mapping[str, tuple[str, ...]]
    keywords: tuple[str, ...]

    @classmethod
    def of(cls, connection: duckdb.DuckDBPyConnection) -> Names:
        """The names of the tables and views of a copy; those of other schemas than the marts have their schema."""
        rows = connection.execute(
            "select case when schema_name = 'marts' then table_name else schema_name || '.' || table_name end, "
            "list(column_name order by column_index) from duckdb_columns() "
            "where database_name = current_database() and schema_name in ('marts', 'sync') group by all order by all"
        ).fetchall()
        keywords = connection.execute(
            "select keyword_name from duckdb_keywords() where keyword_category = 'reserved' order by keyword_name"
        ).fetchall()
        return cls({table: tuple(columns) for table, columns in rows}, tuple(name for (name,) in keywords))

    def matching(self, word: str, text: str) -> list[str]:
        """The names that begin with a word: columns of the tables in the text, tables, other columns, keywords."""
        mentioned = set(re.findall(r"[\w.]+", text.lower()))
        near = [name for table, columns in self.columns.items() if table in mentioned for name in columns]
        other = sorted({name for columns in self.columns.values() for name in columns})
        ordered = dict.fromkeys((*near, *self.columns, *other, *self.keywords))
        return [name for name in ordered if name.startswith(word.lower()) and name != word]


class NameCompleter(Completer):
    """Completes the word before the cursor."""

    def __init__(self, names: Names) -> None:
        self._names = names

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """The names that begin with the word before the cursor; none without a word."""
        del complete_event
        found = _WORD.search(document.text_before_cursor)
        if not found:
            return
        # After a table or an alias and a dot, columns.
        qualifier, dot, _ = found[0].rpartition(".")
        word = found[0] if not dot or qualifier == "sync" else found[0][len(qualifier) + 1 :]
        for name in self._names.matching(word, document.text):
            yield Completion(name, start_position=-len(word))


def _history() -> History:
    """The history of queries, in a file that only its owner can read, or in memory without a file."""
    file = history_file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(file, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600))
        file.chmod(0o600)
    except OSError:
        return InMemoryHistory()
    return FileHistory(str(file))


def _bindings() -> KeyBindings:
    bindings = KeyBindings()

    @bindings.add("enter")
    def _enter(event: KeyPressEvent) -> None:
        buffer: Any = event.current_buffer
        if is_complete(buffer.text):
            buffer.validate_and_handle()
        else:
            buffer.insert_text("\n")

    return bindings
