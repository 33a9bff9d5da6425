"""Scores the sentiment of ticket texts with a lexicon of English words, once per ticket, and stores the scores.

Only the score is stored (``compound``, from -1 to 1); SQL models turn it into levels. The text is the first 1,000
characters of the subject and description in the first version of a ticket: scoring longer texts is slow, and long texts
mostly quote logs.
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
from csm_core.system.project_files import extra_missing
from csm_core.warehouse.catalog import table_exists

EXTRA = "sentiment"
BATCH_TICKETS = 5_000
_KEPT_CHARACTERS = 1_000


class _Analyzer(Protocol):
    def polarity_scores(self, text: str) -> dict[str, float]: ...


class TextSentiment:
    """Scores the tickets in raw tables of a system, for sources that have it enabled."""

    def __init__(self, system: str, tickets: Sequence[str]) -> None:
        self._system = system
        self._tickets = tuple(f"raw.{system}__{name}" for name in tickets)

    @property
    def table(self) -> RawTable:
        """The raw table of the scores: ``ticket_id``, ``compound`` and ``method``, which is ``lexicon``."""
        return RawTable(self._system, "text_sentiments", "tickets", ("ticket_id",), records=True)

    def check(self, settings: Any) -> None:
        """Raise ConfigError if the settings enable it and the library is not installed."""
        if settings.sentiment == "lexicon":
            _analyzer()

    def files(self, connection: duckdb.DuckDBPyConnection, settings: Any, folder: Path, log: Log) -> list[Path]:
        """Score new tickets and write one file per batch below ``folder``; return all files of the source.

        Raises ConfigError without the library.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if settings.sentiment == "lexicon":
            unscored = self._unscored(connection, str(settings.label))
            analyzer = _analyzer()
            scored = 0
            while batch := unscored.fetchmany(BATCH_TICKETS):
                _write(folder / f"{len(readable_files(folder)):06}.jsonl", _scored(analyzer, batch))
                scored += len(batch)
                log.info("ticket texts scored", source=settings.label, tickets=scored)
        return readable_files(folder)

    def _unscored(self, connection: duckdb.DuckDBPyConnection, source: str) -> duckdb.DuckDBPyConnection:
        """Id and text of the tickets that have a text but no score, as a separate cursor."""
        records = " union all ".join(
            f"select record, _loaded_at, _load_id, _source_line from {table} where {SOURCE} = $source"
            for table in self._tickets
        )
        scored = "select null where false"
        if table_exists(connection, self.table.table):
            scored = (
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
            where body <> '' and ticket_id is not null and ticket_id not in ({scored})
            group by ticket_id order by ticket_id
            """,
            {"source": source},
        )


def _analyzer() -> _Analyzer:
    try:
        from vaderSentiment import vaderSentiment  # pyright: ignore[reportMissingTypeStubs]
    except ImportError:
        raise ConfigError(extra_missing("`sentiment: lexicon`", EXTRA)) from None
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
