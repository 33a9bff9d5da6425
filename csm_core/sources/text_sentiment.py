"""What a ticket's text says of its writer's mood, by a lexicon of English words: scored once, then kept as records.

Only the number is kept (``compound``, from -1 to 1); what counts as positive or negative is said in SQL. The texts are
subject and description as the ticket was opened, their first 1,000 characters: a lexicon takes long for more, and long
texts mostly quote logs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import duckdb

from csm_core.contract import SOURCE
from csm_core.errors import ConfigError
from csm_core.ingest.raw_tables import Log, RawTable
from csm_core.sources.files import readable_files
from csm_core.warehouse.database import table_exists

EXTRA = "sentiment"
BATCH_TICKETS = 5_000
_KEPT_CHARACTERS = 1_000


class _Analyzer(Protocol):
    def polarity_scores(self, text: str) -> dict[str, float]: ...


class TextSentiment:
    """Scores the texts of tickets that sources ask for, out of raw tables of records into one of the same system."""

    def __init__(self, system: str, tickets: Sequence[str]) -> None:
        self._system = system
        self._tickets = tuple(f"raw.{system}__{name}" for name in tickets)

    @property
    def table(self) -> RawTable:
        """Where the scores go: ``ticket_id``, ``compound`` and ``method``, which is ``lexicon``."""
        return RawTable(self._system, "text_sentiments", "tickets", ("ticket_id",), records=True)

    def check(self, settings: Any) -> None:
        """Raise ConfigError where the settings ask for it and the library is not installed."""
        if settings.sentiment == "lexicon":
            _analyzer()

    def files(self, connection: duckdb.DuckDBPyConnection, settings: Any, folder: Path, log: Log) -> list[Path]:
        """Score what has not been scored yet, a file a batch below ``folder``; all files of the source.

        Raises ConfigError without the library.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if settings.sentiment == "lexicon":
            waiting = self._waiting(connection, str(settings.label))
            analyzer = _analyzer()
            scored = 0
            while batch := waiting.fetchmany(BATCH_TICKETS):
                _write(folder / f"{len(readable_files(folder)):06}.jsonl", _scored(analyzer, batch))
                scored += len(batch)
                log.info("texts of tickets scored", source=settings.label, tickets=scored)
        return readable_files(folder)

    def _waiting(self, connection: duckdb.DuckDBPyConnection, source: str) -> duckdb.DuckDBPyConnection:
        """Tickets with a text that is not scored yet: id and text, on a cursor of its own."""
        records = " union all ".join(
            f"select record, _loaded_at, _load_id, _source_line from {table} where {SOURCE} = $source"
            for table in self._tickets
        )
        known = "select null where false"
        if table_exists(connection, self.table.table):
            known = (
                f"select record ->> '$.ticket_id' from {self.table.table} "
                f"where {SOURCE} = $source and record ->> '$.ticket_id' is not null"
            )
        return connection.cursor().execute(
            f"""
            with texts as (
                select record ->> '$.id' as ticket_id, _loaded_at, _load_id, _source_line,
                    trim(concat_ws(chr(10), record ->> '$.subject', record ->> '$.description')) as body
                from ({records})
            )
            select ticket_id, arg_min(left(body, {_KEPT_CHARACTERS}), (_loaded_at, _load_id, _source_line)) as body
            from texts
            where body <> '' and ticket_id is not null and ticket_id not in ({known})
            group by ticket_id order by ticket_id
            """,
            {"source": source},
        )


def _analyzer() -> _Analyzer:
    try:
        from vaderSentiment import vaderSentiment  # pyright: ignore[reportMissingTypeStubs]
    except ImportError:
        message = (
            f"`sentiment: lexicon` needs the extra `{EXTRA}`, which is not installed: pip install 'csm-health[{EXTRA}]'"
        )
        raise ConfigError(message) from None
    return cast("_Analyzer", vaderSentiment.SentimentIntensityAnalyzer())


def _scored(analyzer: _Analyzer, tickets: Sequence[tuple[str, str]]) -> str:
    lines = (
        {"ticket_id": ticket, "compound": analyzer.polarity_scores(text)["compound"], "method": "lexicon"}
        for ticket, text in tickets
    )
    return "".join(f"{json.dumps(line)}\n" for line in lines)


def _write(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)
