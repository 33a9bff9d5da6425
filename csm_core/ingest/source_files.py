"""Files of records as they are found: their format, state and columns, and what is wrong with them as a whole."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from csm_core.errors import SourceError
from csm_core.ingest.column_names import by_key, column_key
from csm_core.ingest.read_settings import AS_USUAL, Reading
from csm_core.ingest.text_reader import GZIP, ZSTD, ZSTD_HELP, Refused, zstd_available

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
"""Separates the names of columns of which one is required."""
PACKED = (GZIP, ZSTD)
"""The endings of compressed text files."""
_SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers")
_ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".tgz", ".bz2", ".xz", ".lz4", ".br", ".z", ".snappy", ".lzo")
_READABLE = f"{', '.join(SUFFIXES)} (text also with {' or '.join(PACKED)})"


@dataclass
class SourceFile:
    """A file with what its name and state say; what reading finds is added: rows, refused lines, columns."""

    path: Path
    form: str
    size: int
    mtime_ns: int
    fingerprint: str = ""
    rows: int = 0
    refused: list[Refused] = field(default_factory=list)
    columns: tuple[str, ...] = ()
    reading: Reading = AS_USUAL

    @property
    def name(self) -> str:
        """The path as text, by which the ledger knows the file."""
        return str(self.path)


def form_of(path: Path) -> str | None:
    """The format that a file's name states, its compression aside; None for one that is not read."""
    name = path.name.lower()
    packed = _packed(name)
    form = SUFFIXES.get(Path(name.removesuffix(packed)).suffix)
    if packed and (form == PARQUET or (packed == ZSTD and not zstd_available())):
        return None
    return form


def name_without_form(path: Path) -> str:
    """A file's name without the endings that state its format, case kept: ``Invoices`` for ``Invoices.csv.gz``."""
    return Path(path.name[: len(path.name) - len(_packed(path.name.lower()))]).stem


def not_readable(path: Path) -> str:
    """Why the format of a file is not read, and what to do."""
    name = path.name.lower()
    packed = _packed(name)
    form = SUFFIXES.get(Path(name.removesuffix(packed)).suffix)
    if packed and form == PARQUET:
        return f"Parquet in {packed} is not read: Parquet has its own compression. Unpack it"
    if packed and form:
        return f"compressed with zstd, which needs the package pyarrow. {ZSTD_HELP}"
    suffix = Path(name).suffix
    if suffix in _SPREADSHEETS:
        return "a spreadsheet is not read. Save each of its sheets as CSV"
    if suffix in _ARCHIVES:
        return f"a file packed as {suffix} is not read. Unpack it, or compress it with gzip (.gz)"
    return f"not a format that is read. Expected one of {_READABLE}"


def _packed(name: str) -> str:
    return next((suffix for suffix in PACKED if name.endswith(suffix)), "")


def stated(path: Path, reading: Reading = AS_USUAL) -> SourceFile:
    """The file as it is now. Raises SourceError for one that cannot be read or whose format is not known."""
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
        message = f"{str(path)!r}: the file's name is not UTF-8; rename it"
        raise SourceError(message) from None
    return SourceFile(path, form, status.st_size, status.st_mtime_ns, reading=reading.relevant(to_csv=form == CSV))


def require_columns(where: str, required: Sequence[str], found: Sequence[str], *, exactly: bool = False) -> None:
    """Raise SourceError with ``where`` and the columns found unless all required columns are present.

    Names are compared by ``column_key``, or exactly with ``exactly``. Of names separated by ``|`` one is enough.
    """
    present = by_key(found)
    there = set(found) if exactly else set(present)
    missing = [
        one for one in required if there.isdisjoint(one.split(OR) if exactly else map(column_key, one.split(OR)))
    ]
    if not missing:
        return
    shown = ", ".join(found[:20]) + (f", and {len(found) - 20} more" if len(found) > 20 else "")
    # A column that is there under its own name is not another one misspelt.
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
    """The compression that a text file's name states, as DuckDB calls it."""
    return {GZIP: "gzip", ZSTD: "zstd"}.get(_packed(path.name.lower()), "none")


def glob_escaped(path: str) -> str:
    """A path as DuckDB takes it that has characters of a pattern in it."""
    return path.replace("[", "[[]").replace("*", "[*]").replace("?", "[?]")


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its name."""
    return (str(error).splitlines() or [type(error).__name__])[0]
