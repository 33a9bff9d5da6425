"""Records of web APIs brought to files, by dlt: it keeps the cursor, and packages that a killed run left behind.

A stream gives pages of records and notes in its state where it is. Every so many pages are a package of their own,
brought to files together with the state: a run that is killed goes on from the last one. The files are JSON lines, each
record as it came, and are then loaded as any others are. dlt moves whole files and looks into no record.
"""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from csm_core.errors import CSMError, SourceUnavailableError
from csm_core.ingest.raw_tables import Log
from csm_core.sources.api_client import encoded, require_dlt
from csm_core.sources.files import readable_files

Page = tuple[str, Sequence[MutableMapping[str, Any]]]
State = MutableMapping[str, Any]
Stream = Callable[[State], Iterator[Page]]
"""Gives (table, records); what it has noted in its state by then has to be true once the page is written. ``state`` has
``more`` set as long as there is something left of this pull."""

PAGES_PER_PACKAGE = 500
_DATASET = "records"
_SAY_EVERY = 20_000
_SETTINGS = {
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "RUNTIME__LOG_LEVEL": "ERROR",
    # What has arrived in the files need not be kept a second time.
    "LOAD__DELETE_COMPLETED_JOBS": "true",
}
# The fastest: the files are read a few times and then only kept.
_GZIP_LEVEL = 1


def pull(system: str, label: str, stream: Stream, folder: Path, log: Log, *, pages: int | None = None) -> int:
    """Bring what a stream gives to files below ``folder``, so many ``pages`` at a time; returns the number of records.

    Raises what the stream raises, ConfigError without dlt, and SourceUnavailableError when writing fails.
    """
    dlt = require_dlt(system)
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    folder.mkdir(parents=True, exist_ok=True)
    fetched = folder / "fetched"
    # What a killed pull had fetched since its last package is fetched again.
    shutil.rmtree(fetched, ignore_errors=True)
    fetched.mkdir()
    pipeline = dlt.pipeline(
        pipeline_name=label,
        pipelines_dir=str(folder / "state"),
        destination=dlt.destinations.filesystem(bucket_url=(folder / "files").resolve().as_uri()),
        dataset_name=_DATASET,
    )
    told = ProgressLog(label, log)
    _finish(pipeline, label)
    more = True
    while more:
        with tempfile.TemporaryDirectory(dir=fetched) as place:
            more = _package(dlt, pipeline, stream, told, _Files(Path(place)), pages or PAGES_PER_PACKAGE)
    told.end()
    return told.records


def _package(dlt: Any, pipeline: Any, stream: Stream, told: ProgressLog, files: _Files, pages: int) -> bool:
    """Bring so many pages to files, with the state; whether something of the pull is left."""
    left: list[bool] = []
    label = told.label

    @dlt.resource(name=label)
    def records() -> Iterator[Any]:
        with files:
            state = dlt.current.resource_state()
            for number, (table, page) in enumerate(stream(state), start=1):
                files.add(table, page)
                told.add(table, len(page))
                if number >= pages and state.get("more"):
                    left.append(True)
                    break
        for table, (path, count) in files.written.items():
            named = dlt.mark.make_hints(table_name=table, columns={"id": {"data_type": "text"}})
            yield dlt.mark.with_file_import(str(path), "jsonl", count, hints=named)

    with _told_as_ours(label):
        pipeline.run(records(), loader_file_format="jsonl")
    return bool(left)


def _finish(pipeline: Any, label: str) -> None:
    """Bring the packages to files that a killed pull had fetched: with these left, dlt would fetch nothing new."""
    with _told_as_ours(label):
        if pipeline.has_pending_data:
            pipeline.normalize()
            pipeline.load()


@contextmanager
def _told_as_ours(label: str) -> Generator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001  # whatever dlt made of it, told in our own words
        raise _cause(error, label) from None


def pulled_files(folder: Path, table: str) -> list[Path]:
    """The files of a table that earlier pulls and this one have brought below ``folder``."""
    found = folder / "files" / _DATASET / table
    return readable_files(found) if found.is_dir() else []


class _Files:
    """One file of JSON lines for each table of a package, in a folder that is there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, gzip.GzipFile] = {}
        self._closing = ExitStack()
        self.written: dict[str, tuple[Path, int]] = {}

    def add(self, table: str, records: Sequence[MutableMapping[str, Any]]) -> None:
        if not records:
            return
        path, count = self.written.get(table, (self._folder / f"{table}.jsonl.gz", 0))
        if table not in self._open:
            self._open[table] = self._closing.enter_context(gzip.GzipFile(path, "wb", compresslevel=_GZIP_LEVEL))
        self._open[table].write(b"".join(encoded(record) + b"\n" for record in records))
        self.written[table] = (path, count + len(records))

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *error: object) -> None:
        self._closing.close()


class ProgressLog:
    """Says how far a pull is."""

    def __init__(self, label: str, log: Log) -> None:
        self.label = label
        self._log = log
        self._next = _SAY_EVERY
        self.records = 0

    def add(self, table: str, records: int) -> None:
        """Count records of a table, and say so from time to time."""
        self.records += records
        if self.records >= self._next:
            self._next = self.records + _SAY_EVERY
            self._log.info("records fetched", source=self.label, records=self.records, table=table)

    def end(self) -> None:
        """Say that the source has been read."""
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
