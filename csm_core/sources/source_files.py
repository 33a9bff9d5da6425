"""Files of records as they are found: their format, state and columns, and what is wrong with them as a whole."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from csm_core.errors import SourceError
from csm_core.sources.text_files import Refused

CSV, JSON_LINES, PARQUET = "csv", "json lines", "parquet"
SUFFIXES = {".csv": CSV, ".jsonl": JSON_LINES, ".ndjson": JSON_LINES, ".json": JSON_LINES, ".parquet": PARQUET}


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

    @property
    def name(self) -> str:
        """The path as text, by which the ledger knows the file."""
        return str(self.path)


def form_of(path: Path) -> str | None:
    """The format that a file's name states, ``.gz`` aside; None for one that is not read."""
    name = path.name.lower()
    suffix = Path(name.removesuffix(".gz")).suffix
    form = SUFFIXES.get(suffix)
    return None if form == PARQUET and name.endswith(".gz") else form


def stated(path: Path) -> SourceFile:
    """The file as it is now. Raises SourceError for one that cannot be read or whose format is not known."""
    form = form_of(path)
    if form is None:
        message = f"{path}: not a file that can be read; expected one of {', '.join(sorted(SUFFIXES))}"
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
    return SourceFile(path, form, status.st_size, status.st_mtime_ns)


def require_columns(where: str, required: Sequence[str], found: Sequence[str]) -> None:
    """Raise SourceError saying ``where``, and what was found instead, unless all required columns are there."""
    present = {name.lower() for name in found}
    missing = [name for name in required if name not in present]
    if not missing:
        return
    shown = ", ".join(found[:20]) + (f", and {len(found) - 20} more" if len(found) > 20 else "")
    # A column that is there under its own name is not another one misspelt.
    others = [name for name in sorted(present) if name not in required]
    hints: list[str] = []
    for name in missing:
        near = difflib.get_close_matches(name, others, n=1, cutoff=0.6)
        near += [one for one in others if name.endswith(f"_{one}")]
        hints.append(f"{name} (is it {near[0]!r}?)" if near else name)
    called = "column" if len(missing) == 1 else "columns"
    message = f"{where}: required {called} missing: {', '.join(hints)}. Found: {shown or 'no column'}."
    raise SourceError(message)


def glob_escaped(path: str) -> str:
    """A path as DuckDB takes it that has characters of a pattern in it."""
    return path.replace("[", "[[]").replace("*", "[*]").replace("?", "[?]")


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its name."""
    return (str(error).splitlines() or [type(error).__name__])[0]
