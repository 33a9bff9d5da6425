"""Describes source files: format, state and columns, and errors that affect the whole file."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from csm_core.errors import SourceError
from csm_core.ingest.column_names import by_key, column_key
from csm_core.ingest.read_settings import DEFAULT_READING, Reading
from csm_core.ingest.text_files import GZIP, ZSTD, ZSTD_HELP, zstd_available
from csm_core.ingest.text_reader import RejectedLine

CSV, JSON_LINES, PARQUET = "csv", "json lines", "parquet"
SUFFIXES = {
    ".csv": CSV,
    ".tsv": CSV,
    ".jsonl": JSON_LINES,
    ".ndjson": JSON_LINES,
    ".json": JSON_LINES,
    ".parquet": PARQUET,
}
OR = "|"
"""Separates alternative column names, of which one is required."""
PACKED = (GZIP, ZSTD)
"""The suffixes of compressed text files."""
_SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers")
_ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".tgz", ".bz2", ".xz", ".lz4", ".br", ".z", ".snappy", ".lzo")
_READABLE = f"{', '.join(SUFFIXES)} (text also with {' or '.join(PACKED)})"


@dataclass
class SourceFile:
    """A file with its format and state; the loader adds rows, rejected lines and columns."""

    path: Path
    form: str
    size: int
    mtime_ns: int
    fingerprint: str = ""
    rows: int = 0
    rejected: list[RejectedLine] = field(default_factory=list)
    columns: tuple[str, ...] = ()
    reading: Reading = DEFAULT_READING

    @property
    def name(self) -> str:
        """The path as text, which identifies the file in the ledger of loads."""
        return str(self.path)


def form_of(path: Path) -> str | None:
    """Return the format from a file's name, without compression; None for a format that is not supported."""
    name = path.name.lower()
    packed = _packed(name)
    form = SUFFIXES.get(_suffix(name.removesuffix(packed)))
    if packed and (form == PARQUET or (packed == ZSTD and not zstd_available())):
        return None
    return form


def name_without_form(path: Path) -> str:
    """Return a file's name without the suffixes of its format, with its case: ``Invoices`` for ``Invoices.csv.gz``."""
    return Path(path.name[: len(path.name) - len(_packed(path.name.lower()))]).stem


def not_readable(path: Path) -> str:
    """Return why the format of a file is not supported, and what to do."""
    name = path.name.lower()
    packed = _packed(name)
    form = SUFFIXES.get(_suffix(name.removesuffix(packed)))
    if packed and form == PARQUET:
        return f"Parquet in {packed} is not supported: Parquet has its own compression. Decompress it"
    if packed and form:
        return f"compressed with zstd, which requires the package pyarrow. {ZSTD_HELP}"
    suffix = Path(name).suffix
    if suffix in _SPREADSHEETS:
        return "spreadsheets are not supported. Save each sheet as CSV"
    if suffix in _ARCHIVES:
        return f"the format {suffix} is not supported. Decompress the file, or compress it with gzip (.gz)"
    return f"unsupported format. Expected one of {_READABLE}"


def _suffix(name: str) -> str:
    """Return the suffix of a file's name with its dot, like ``Path.suffix``, which takes ten times as long."""
    stem, dot, suffix = name.rpartition(".")
    return dot + suffix if stem else ""


def _packed(name: str) -> str:
    return next((suffix for suffix in PACKED if name.endswith(suffix)), "")


def describe_file(path: Path, reading: Reading = DEFAULT_READING) -> SourceFile:
    """Return the current state of a file. Raises SourceError for an unreadable file or an unsupported format."""
    form = form_of(path)
    if form is None:
        message = f"{path}: {not_readable(path)}."
        raise SourceError(message)
    try:
        status = path.stat()
        str(path).encode("utf-8")
    except OSError as error:
        message = f"{path}: cannot be read: {error.strerror or error}"
        raise SourceError(message) from None
    except UnicodeEncodeError:
        message = f"{str(path)!r}: the file name is not UTF-8; rename the file"
        raise SourceError(message) from None
    return SourceFile(path, form, status.st_size, status.st_mtime_ns, reading=reading.relevant(to_csv=form == CSV))


def require_columns(where: str, required: Sequence[str], found: Sequence[str], *, exactly: bool = False) -> None:
    """Raise SourceError with ``where`` and the present columns unless all required columns are present.

    Names are compared by ``column_key``, or exactly with ``exactly``. Of names separated by ``|``, one is sufficient.
    """
    present = by_key(found)
    names = set(found) if exactly else set(present)
    missing = [
        one for one in required if names.isdisjoint(one.split(OR) if exactly else map(column_key, one.split(OR)))
    ]
    if not missing:
        return
    shown = ", ".join(found[:20]) + (f", and {len(found) - 20} more" if len(found) > 20 else "")
    # A required column under its own name is not a misspelling of another one.
    keys = {column_key(name) for one in required if not exactly or one not in missing for name in one.split(OR)}
    others = [name for name in sorted(present) if name not in keys]
    hints: list[str] = []
    for name in (one.replace(OR, " or ") for one in missing):
        near = difflib.get_close_matches(name, others, n=1, cutoff=0.6)
        near += [one for one in others if name.endswith(f"_{one}")]
        hints.append(f"{name} (is it {present[near[0]]!r}?)" if near else name)
    called = "column" if len(missing) == 1 else "columns"
    message = f"{where}: required {called} missing: {', '.join(hints)}. Found: {shown or 'no column'}."
    raise SourceError(message)


def compression_of(path: Path) -> str:
    """Return the compression from a text file's name, in DuckDB's terms."""
    return {GZIP: "gzip", ZSTD: "zstd"}.get(_packed(path.name.lower()), "none")


def glob_escaped(path: str) -> str:
    """Return a path with the special characters of glob patterns escaped for DuckDB."""
    return path.replace("[", "[[]").replace("*", "[*]").replace("?", "[?]")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of the error."""
    return (str(error).splitlines() or [type(error).__name__])[0]
