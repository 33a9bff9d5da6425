"""Records of web APIs brought to files, by dlt: it keeps the cursor, and packages that a killed run left behind.

A stream gives pages of records and notes in its state where it is. Every so many pages are a package of their own,
written to files together with the state: a run that is killed goes on from the last one. The files hold each record as
text, and are then loaded as any others are.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from csm_core.contract import RECORD
from csm_core.errors import CSMError, SourceUnavailableError
from csm_core.sources.files import readable_files
from csm_core.sources.loading import Log
from csm_core.sources.web_api import require_dlt

Page = tuple[str, Sequence[MutableMapping[str, Any]]]
State = MutableMapping[str, Any]
Stream = Callable[[State], Iterator[Page]]
"""Gives (table, records); what it has noted in its state by then has to be true once the page is written. ``state`` has
``more`` set as long as there is something left of this pull."""

PAGES_PER_PACKAGE = 500
_DATASET = "records"
_SAY_EVERY = 20_000


def pull(system: str, label: str, stream: Stream, folder: Path, log: Log, *, pages: int | None = None) -> int:
    """Bring what a stream gives to files below ``folder``, so many ``pages`` at a time; returns the number of records.

    Raises what the stream raises, ConfigError without dlt, and SourceUnavailableError when writing fails.
    """
    dlt = require_dlt(system)
    os.environ.setdefault("RUNTIME__DLTHUB_TELEMETRY", "false")
    os.environ.setdefault("RUNTIME__LOG_LEVEL", "ERROR")
    folder.mkdir(parents=True, exist_ok=True)
    pipeline = dlt.pipeline(
        pipeline_name=label,
        pipelines_dir=str(folder / "state"),
        destination=dlt.destinations.filesystem(bucket_url=(folder / "files").resolve().as_uri()),
        dataset_name=_DATASET,
    )
    told = _Told(label, log)
    more = True
    while more:
        more = _package(dlt, pipeline, stream, told, pages or PAGES_PER_PACKAGE)
    told.end()
    return told.records


def _package(dlt: Any, pipeline: Any, stream: Stream, told: _Told, pages: int) -> bool:
    """Bring so many pages to files, with the state; whether something of the pull is left."""
    left: list[bool] = []
    label = told.label

    @dlt.resource(name=label, columns={RECORD: {"data_type": "text"}})
    def records() -> Iterator[Any]:
        state = dlt.current.resource_state()
        for number, (table, page) in enumerate(stream(state), start=1):
            told.add(table, len(page))
            if page:
                rows = [{RECORD: json.dumps(record, separators=(",", ":"))} for record in page]
                yield dlt.mark.with_table_name(rows, table)
            if number >= pages and state.get("more"):
                left.append(True)
                return

    try:
        pipeline.run(records(), loader_file_format="jsonl")
    except Exception as error:  # noqa: BLE001  # whatever dlt made of it, told in our own words
        raise _cause(error, label) from None
    return bool(left)


def pulled_files(folder: Path, table: str) -> list[Path]:
    """The files of a table that earlier pulls and this one have brought below ``folder``."""
    found = folder / "files" / _DATASET / table
    return readable_files(found) if found.is_dir() else []


class _Told:
    """Says how far a pull is."""

    def __init__(self, label: str, log: Log) -> None:
        self.label = label
        self._log = log
        self._next = _SAY_EVERY
        self.records = 0

    def add(self, table: str, records: int) -> None:
        self.records += records
        if self.records >= self._next:
            self._next = self.records + _SAY_EVERY
            self._log.info("records fetched", source=self.label, records=self.records, table=table)

    def end(self) -> None:
        self._log.info("source read", source=self.label, records=self.records)


def _cause(error: BaseException, label: str) -> CSMError:
    """Our own error inside what dlt made of it; dlt's own message may quote what must not be shown."""
    inner: BaseException | None = error
    seen: set[int] = set()
    while inner is not None and id(inner) not in seen:
        seen.add(id(inner))
        if isinstance(inner, CSMError):
            return inner
        inner = inner.__cause__ or inner.__context__
    return SourceUnavailableError(f"{label}: what was fetched cannot be written: {type(error).__name__}")
