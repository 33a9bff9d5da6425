"""Writes records of web APIs to files, with dlt. dlt stores the cursor and the packages of an interrupted run.

A stream yields pages of records and writes its position to its state. A fixed number of pages form a package, which dlt
writes to files together with the state: an interrupted pull resumes after its last package. The files are JSON lines
with the unchanged records, and the loader loads them like any other files. dlt moves whole files and does not parse
records.
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
"""Yields (table, records). When it yields a page, its state must be correct for the time after that page is written.
``state`` has ``more`` set until the pull is complete."""

PAGES_PER_PACKAGE = 500
_DATASET = "records"
_LOG_EVERY = 20_000
_SETTINGS = {
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "RUNTIME__LOG_LEVEL": "ERROR",
    # The files have the records; dlt does not need to keep a second copy.
    "LOAD__DELETE_COMPLETED_JOBS": "true",
}
# The fastest level: the files are read a few times and then only stored.
_GZIP_LEVEL = 1


def pull(system: str, label: str, stream: Stream, folder: Path, log: Log, *, pages: int | None = None) -> int:
    """Write the records of a stream to files below ``folder``, ``pages`` pages per package; return their number.

    Raises the errors of the stream, ConfigError without dlt, and SourceUnavailableError if writing fails.
    """
    dlt = require_dlt(system)
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    folder.mkdir(parents=True, exist_ok=True)
    fetched = folder / "fetched"
    # An interrupted pull fetches the pages after its last package again.
    shutil.rmtree(fetched, ignore_errors=True)
    fetched.mkdir()
    pipeline = dlt.pipeline(
        pipeline_name=label,
        pipelines_dir=str(folder / "state"),
        destination=dlt.destinations.filesystem(bucket_url=(folder / "files").resolve().as_uri()),
        dataset_name=_DATASET,
    )
    progress = ProgressLog(label, log)
    _finish(pipeline, label)
    more = True
    while more:
        with tempfile.TemporaryDirectory(dir=fetched) as place:
            more = _package(dlt, pipeline, stream, progress, _Files(Path(place)), pages or PAGES_PER_PACKAGE)
    progress.end()
    return progress.records


def _package(dlt: Any, pipeline: Any, stream: Stream, progress: ProgressLog, files: _Files, pages: int) -> bool:
    """Write up to ``pages`` pages and the state to files; return whether pages of the pull are left."""
    left: list[bool] = []
    label = progress.label

    @dlt.resource(name=label)
    def records() -> Iterator[Any]:
        with files:
            state = dlt.current.resource_state()
            for number, (table, page) in enumerate(stream(state), start=1):
                files.add(table, page)
                progress.add(table, len(page))
                if number >= pages and state.get("more"):
                    left.append(True)
                    break
        for table, (path, count) in files.written.items():
            named = dlt.mark.make_hints(table_name=table, columns={"id": {"data_type": "text"}})
            yield dlt.mark.with_file_import(str(path), "jsonl", count, hints=named)

    with _translated_errors(label):
        pipeline.run(records(), loader_file_format="jsonl")
    return bool(left)


def _finish(pipeline: Any, label: str) -> None:
    """Write the packages of an interrupted pull to files; while packages are pending, dlt fetches nothing new."""
    with _translated_errors(label):
        if pipeline.has_pending_data:
            pipeline.normalize()
            pipeline.load()


@contextmanager
def _translated_errors(label: str) -> Generator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001  # dlt wraps the errors of the stream in errors of its own
        raise _cause(error, label) from None


def pulled_files(folder: Path, table: str) -> list[Path]:
    """The files of a table that this pull and earlier ones wrote below ``folder``."""
    table_folder = folder / "files" / _DATASET / table
    return readable_files(table_folder) if table_folder.is_dir() else []


class _Files:
    """One file of JSON lines per table of a package, in an existing folder."""

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
    """Logs the progress of a pull."""

    def __init__(self, label: str, log: Log) -> None:
        self.label = label
        self._log = log
        self._next = _LOG_EVERY
        self.records = 0

    def add(self, table: str, records: int) -> None:
        """Count records of a table; log the total every 20,000 records."""
        self.records += records
        if self.records >= self._next:
            self._next = self.records + _LOG_EVERY
            self._log.info("records fetched", source=self.label, records=self.records, table=table)

    def end(self) -> None:
        """Log that the pull is complete."""
        self._log.info("source read", source=self.label, records=self.records)


def _cause(error: BaseException, label: str) -> CSMError:
    """The project's own error inside an error of dlt; the message of dlt may contain secrets."""
    inner: BaseException | None = error
    seen: set[int] = set()
    while inner is not None and id(inner) not in seen:
        seen.add(id(inner))
        if isinstance(inner, CSMError):
            return inner
        inner = inner.__cause__ or inner.__context__
    return SourceUnavailableError(f"{label}: the fetched records cannot be written: {type(error).__name__}")
