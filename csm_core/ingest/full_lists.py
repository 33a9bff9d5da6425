"""Tracks files that contain the full list of an entity: the gate closes records that are no longer in the list.

``raw.full_files`` has one row per file of such a list: whether the file still exists, and for a dated series
(``accounts/2026-06-01.csv``, ``accounts/2026-06-02.csv``: each is the full list of its day) its date, and the time at
which the next list of the series replaces it.

The date of a file is in its path below the source's folder: a day with an optional time, a month, or folders of year,
month and day. The text before the date, without numbers and formats, identifies the series. All files of a series with
the same date are one list; the text after the date (part numbers, names of writers) is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from csm_core.ingest.source_files import name_without_form
from csm_core.warehouse.catalog import transaction

FULL_FILES = "raw.full_files"

_YEAR = "((?:19|20)[0-9]{2})"
_DAY = re.compile(rf"(?<![0-9]){_YEAR}([-_.]?)([0-9]{{2}})\2([0-9]{{2}})(?![0-9])")
_DAY_AND_DIGITS = re.compile(rf"(?<![0-9]){_YEAR}()([0-9]{{2}})([0-9]{{2}})(?=[0-9]{{6}}(?![0-9]))")
_MONTH = re.compile(rf"(?<![0-9]){_YEAR}[-_.](0[1-9]|1[0-2])(?![0-9])")
# 2026/06/29 and year=2026/month=06/day=29, with parts below.
_FOLDERS = re.compile(rf"(?:^|(?<=/))(?:[^/=]+=)?{_YEAR}/(?:[^/=]+=)?([0-9]{{2}})(?:/(?:[^/=]+=)?([0-9]{{2}}))?(?=/|$)")
# Without a T, a time needs six digits; 0000xx is a part number, not a time.
_HOUR, _SIXTY = "([01][0-9]|2[0-3])", "([0-5][0-9])"
_TIMES = (
    re.compile(rf"[Tt]{_HOUR}(?:[-_.:]?{_SIXTY}(?:[-_.:]?{_SIXTY})?)?(?![0-9])"),
    re.compile(rf"[-_ ]?(?!0000){_HOUR}{_SIXTY}{_SIXTY}(?![0-9])"),
    re.compile(rf"[-_ ](?!00[-_.:]00){_HOUR}[-_.:]{_SIXTY}[-_.:]{_SIXTY}(?![0-9])"),
)
_HIVE_KEY = re.compile(r"[^/=]+=")
_BETWEEN = re.compile(r"[\W_]+")
_NO_NAME = re.compile(r"[0-9]*|part[0-9]*")


@dataclass(frozen=True)
class DatedList:
    """The list of a dated file: the words that identify its series, and the start of its day or month."""

    series: tuple[str, ...]
    at: datetime


def record_full_files(
    connection: duckdb.DuckDBPyConnection,
    raw_table: str,
    present: Mapping[Path, Sequence[Path]] | None,
    at: datetime,
) -> None:
    """Record the files of a raw table's full list; recorded files that are not among them no longer exist.

    ``present`` are the files by the folder of their source. None: the raw table has no full list. ``at`` is the
    UTC time since which a file is missing.
    """
    if present is None:
        connection.execute(f"delete from {FULL_FILES} where raw_table = ?", [raw_table])
        return
    with transaction(connection):
        connection.execute(f"update {FULL_FILES} set is_present = false where raw_table = ?", [raw_table])
        for folder, paths in present.items():
            replaced = replaced_at(paths, folder)
            for path in paths:
                dated = dated_list(path, folder)
                connection.execute(f"delete from {FULL_FILES} where raw_table = ? and path = ?", [raw_table, str(path)])
                connection.execute(
                    f"insert into {FULL_FILES} by name select ? as raw_table, ? as path, true as is_present, "
                    "cast(? as timestamp) as replaced_at, cast(? as timestamp) as dated_at",
                    [raw_table, str(path), replaced.get(path), dated.at if dated else None],
                )
        # A removed list also ends when the next list starts: many exports keep only the latest file. A list between the
        # two that arrives later ends it earlier.
        removed: dict[Path, datetime | None] = {
            Path(path): known
            for path, known in connection.execute(
                f"select path, replaced_at from {FULL_FILES} where raw_table = ? and not is_present", [raw_table]
            ).fetchall()
        }
        for folder, paths in present.items():
            inside = [path for path in removed if path.is_relative_to(folder)]
            for path, next_at in replaced_at(paths, folder, of=inside).items():
                known = removed[path]
                # Times in the warehouse are UTC without a zone.
                if known is None or next_at.replace(tzinfo=None) < known:
                    connection.execute(
                        f"update {FULL_FILES} set replaced_at = ? where raw_table = ? and path = ? and not is_present",
                        [next_at, raw_table, str(path)],
                    )
        connection.execute(
            f"update {FULL_FILES} set absent_since = ? where raw_table = ? and not is_present and absent_since is null",
            [at.replace(tzinfo=None), raw_table],
        )


def replaced_at(
    paths: Sequence[Path], folder: Path = Path(), *, of: Iterable[Path] | None = None
) -> dict[Path, datetime]:
    """Return when each dated file is replaced: the start of the next date of its series among ``paths``, in UTC.

    ``folder`` is the folder of the source. ``of`` are the files to look up, by default ``paths``.
    """
    dates: dict[tuple[str, ...], set[datetime]] = {}
    for path in paths:
        if dated := dated_list(path, folder):
            dates.setdefault(dated.series, set()).add(dated.at)
    replaced: dict[Path, datetime] = {}
    for path in paths if of is None else of:
        dated = dated_list(path, folder)
        later = [at for at in dates.get(dated.series, ()) if at > dated.at] if dated else []
        if later:
            replaced[path] = min(later)
    return replaced


def dated_list(path: Path, folder: Path = Path()) -> DatedList | None:
    """Return the list of a file by the date in its path below a folder; None for a path without a date."""
    below = path.relative_to(folder) if path.is_relative_to(folder) else path
    text = (below.parent / name_without_form(below)).as_posix()
    date = _date_in(text)
    if date is None:
        return None
    start, at = date
    words = _BETWEEN.split(_HIVE_KEY.sub("", text[:start]).casefold())
    return DatedList(tuple(dict.fromkeys(word for word in words if not _NO_NAME.fullmatch(word))), at)


def mixed(paths: Sequence[Path], folder: Path) -> tuple[Path, Path] | None:
    """Return the file with the latest date and one without a date, if only some of the files have a date."""
    lists = {path: dated_list(path, folder) for path in paths}
    dates = {path: dated.at for path, dated in lists.items() if dated}
    undated = [path for path in paths if path not in dates]
    return (max(dates, key=lambda path: dates[path]), undated[0]) if dates and undated else None


def _date_in(text: str) -> tuple[int, datetime] | None:
    """Return the position and time of the date in a path. A day precedes a month; the deepest folder is first."""
    parts = [(text.rfind("/", 0, end) + 1, end) for end in _ends(text)]
    for start, end in parts:
        for pattern in (_DAY, _DAY_AND_DIGITS):
            for match in pattern.finditer(text, start, end):
                year, _, month, day = match.groups()
                at = _instant(year, month, day, *_time_at(text, match.end(), end))
                if at:
                    return match.start(), at
    folders = list(_FOLDERS.finditer(text))
    for match in reversed(folders):
        year, month, day = match.groups()
        at = _instant(year, month, day) if day else None
        if at:
            return match.start(), at
    for start, end in parts:
        for match in _MONTH.finditer(text, start, end):
            at = _instant(*match.groups())
            if at:
                return match.start(), at
    for match in reversed(folders):
        at = _instant(*match.groups()[:2])
        if at:
            return match.start(), at
    return None


def _ends(text: str) -> list[int]:
    """Return the end positions of the file name and of each folder above it."""
    return [len(text), *(position for position in range(len(text) - 1, -1, -1) if text[position] == "/")]


def _time_at(text: str, position: int, end: int) -> tuple[str, ...]:
    """Return hour, minute and second after a day, as far as present."""
    for pattern in _TIMES:
        match = pattern.match(text, position, end)
        if match:
            return tuple(part for part in match.groups() if part)
    return ()


def _instant(year: str, month: str, day: str = "1", *time: str) -> datetime | None:
    hour, minute, second = (*map(int, time), 0, 0, 0)[:3]
    try:
        at = datetime(int(year), int(month), int(day), hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    return at.replace(tzinfo=None)
