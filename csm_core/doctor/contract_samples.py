"""Checks samples of the source ``files``: delimiters, column names, and missing settings.

Each problem is reported and then corrected in the sample, so that the values of a file with other column names or
delimiters are examined as well. A guessed column is marked as guessed in its sample.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import yaml

from csm_core.contract import ENTITIES, Reason
from csm_core.doctor.column_hints import assigned
from csm_core.doctor.sample_gate import Rejection
from csm_core.doctor.sample_problems import ERROR, NOTE, Problems
from csm_core.doctor.source_samples import (
    Sample,
    columns_of_sample,
    delimiter_of_sample,
    rename_and_add,
    separate,
    separator_of,
    values_of_sample,
)
from csm_core.doctor.value_formats import date_formats, decimal_marks, null_texts
from csm_core.ingest.column_names import column_key
from csm_core.ingest.read_settings import NULL_VALUES
from csm_core.ingest.source_files import CSV
from csm_core.sources.files import entity_files
from csm_core.sources.files_settings import FilesSettings, mappable_columns
from csm_core.sources.settings_base import SourceSettings
from csm_core.system.terminal import printable

_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars", ",": "commas"}
_SHOWN_COLUMNS = 20


@dataclass
class _Suggested:
    """The missing settings of one source."""

    columns: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    open_columns: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    delimiters: set[str] = field(default_factory=set[str])
    formats: list[list[str]] = field(default_factory=list[list[str]])
    marks: list[list[str]] = field(default_factory=list[list[str]])


class ContractSamples:
    """Examines the samples of sources of the system ``files``."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, problems: Problems) -> None:
        self._connection = connection
        self._problems = problems
        self._entities: dict[Path, str] = {}
        self._suggested: dict[str, _Suggested] = {}

    def files(self, source: FilesSettings) -> list[Path]:
        """The files of the source that are read."""
        files = entity_files(source)
        for entity, paths in files.read.items():
            self._entities |= dict.fromkeys(paths, entity)
        return [path for paths in files.read.values() for path in paths]

    def examine(self, source: FilesSettings, samples: Sequence[Sample]) -> None:
        """Report problems in the format of the files, and correct them in the samples."""
        self._suggested[source.label] = _Suggested()
        for sample in samples:
            expected = _delimiter(source, sample)
            if sample.form == CSV:
                delimiter = separator_of(sample, expected)
                if delimiter:
                    self._report_separator(source, sample, delimiter)
                    separate(sample, delimiter, expected)
            with suppress(duckdb.Error):
                # The loader reports files that DuckDB cannot read.
                self._examine_columns(source, sample, expected)

    def _report_separator(self, source: FilesSettings, sample: Sample, delimiter: str) -> None:
        self._suggested[source.label].delimiters.add(delimiter)
        setting = "tab" if delimiter == "\t" else delimiter
        self._problems.add(
            source.label,
            ERROR,
            "delimiter",
            f'{sample.path}: the columns are separated by {_SEPARATORS[delimiter]}. Set `delimiter: "{setting}"` '
            f"for this source.",
            file=str(sample.path),
            entity=self._entities[sample.path],
            value=setting,
        )

    def _examine_columns(self, source: FilesSettings, sample: Sample, delimiter: str) -> None:
        entity = self._entities[sample.path]
        columns = columns_of_sample(self._connection, sample, delimiter)
        if not columns:
            return
        keys = {name: column_key(name) for name in columns}
        mapping: Mapping[str, str] = source.columns.get(entity, {})
        named = {column: mapping.get(column, column) for column in mappable_columns(entity)}
        present = set(keys.values())
        absent = [column for column, name in named.items() if column_key(name) not in present]
        used = {column_key(name) for name in named.values()}
        unused = [name for name in columns if keys[name] not in used]
        guessed = assigned(entity, [column for column in absent if column not in mapping], unused, keys)
        required = ENTITIES[entity].required_columns
        missing = [column for column in absent if column in required or column in mapping]
        if missing:
            self._report_missing(source, sample, missing, guessed, mapping, columns)
        suggested = self._suggested[source.label]
        for column, name in guessed.items():
            suggested.columns.setdefault(entity, {}).setdefault(column, name)
        for column in missing:
            if column not in guessed and column not in suggested.open_columns.setdefault(entity, []):
                suggested.open_columns[entity].append(column)
        # The error about missing columns already names the columns suggested for them.
        others = [name for name in unused if name not in {guessed.get(column) for column in missing}]
        if others:
            self._report_unused(source, sample, others, guessed, delimiter, values_too=bool(missing))
        if missing or guessed:
            renamed = {name: named[column] for column, name in guessed.items()}
            added = [named[column] for column in missing if column not in guessed]
            rename_and_add(self._connection, sample, delimiter, renamed, added)
            sample.added |= {column for column in missing if column not in guessed}
            sample.guessed |= {column for column in guessed if column not in missing}

    def _report_missing(
        self,
        source: FilesSettings,
        sample: Sample,
        missing: Sequence[str],
        guessed: Mapping[str, str],
        mapping: Mapping[str, str],
        columns: Sequence[str],
    ) -> None:
        entity = self._entities[sample.path]
        listed = ", ".join(
            f"{column} (mapped to {mapping[column]!r})"
            if column in mapping
            else f"{column} (is it {printable(guessed[column], 80)!r}?)"
            if column in guessed
            else column
            for column in missing
        )
        called = "column" if len(missing) == 1 else "columns"
        shown = ", ".join(printable(name, 80) for name in columns[:_SHOWN_COLUMNS])
        more = f", and {len(columns) - _SHOWN_COLUMNS} more" if len(columns) > _SHOWN_COLUMNS else ""
        self._problems.add(
            source.label,
            ERROR,
            "missing_columns",
            f"{sample.path}: required {called} missing: {listed}. Found: {shown}{more}. Rename the columns, or "
            f"map them with `columns: {{{entity}: …}}` for this source.",
            file=str(sample.path),
            entity=entity,
            column=", ".join(missing),
        )

    def _report_unused(
        self,
        source: FilesSettings,
        sample: Sample,
        unused: Sequence[str],
        guessed: Mapping[str, str],
        delimiter: str,
        *,
        values_too: bool,
    ) -> None:
        meant = {name: column for column, name in guessed.items()}
        suggested = self._suggested[source.label]
        listed: list[str] = []
        for name in unused:
            shown = printable(name, 80)
            if name in meant:
                listed.append(f"{shown} (is it {meant[name]}?)")
                continue
            listed.append(shown)
            if not values_too:
                continue
            # This may be the required column that the file lacks, so its format may need a setting.
            values = values_of_sample(self._connection, sample, delimiter, name)
            forms = date_formats(self._connection, values)
            if forms and not all(form.startswith("%Y-%m-%d") for form in forms) and not _plain(values):
                suggested.formats.append(forms)
                listed[-1] = f"{shown} (dates such as {printable(values[0], 40)!r}: {_either(forms)})"
            elif decimal_marks(self._connection, values) and not _plain(values):
                suggested.marks.append(decimal_marks(self._connection, values))
        self._problems.add(
            source.label,
            NOTE,
            "unused_columns",
            f"{sample.path}: columns not used: {', '.join(listed)}",
            file=str(sample.path),
            entity=self._entities[sample.path],
            column=", ".join(unused),
        )

    # -- missing settings -----------------------------------------------------------------------------------------

    def suggest(self, sources: Iterable[SourceSettings], rejections: Sequence[Rejection]) -> None:
        """Report, for each source with problems, the settings that solve them, in the format of csm.yaml."""
        for source in sources:
            if not isinstance(source, FilesSettings) or source.label not in self._suggested:
                continue
            suggested = self._suggested[source.label]
            own = [one for one in rejections if one.label == source.label]
            formats = [
                date_formats(self._connection, one.values) for one in own if one.reason is Reason.INVALID_TIMESTAMP
            ]
            marks = [decimal_marks(self._connection, one.values) for one in own if one.reason is Reason.INVALID_NUMBER]
            needed = any(problem.level == ERROR for problem in self._problems.by_source[source.label])
            nulls = sorted({text for one in own for text in null_texts(one.values)})
            text = _settings_text(source, suggested, [*formats, *suggested.formats], [*marks, *suggested.marks], nulls)
            if text and needed:
                self._problems.add(
                    source.label,
                    NOTE,
                    "settings",
                    "settings for this source that solve these problems, if the guessed columns are right:\n"
                    + textwrap.indent(text, " " * 10),
                    value=text,
                )


def _settings_text(
    source: FilesSettings,
    suggested: _Suggested,
    formats: Sequence[list[str]],
    marks: Sequence[list[str]],
    nulls: Sequence[str],
) -> str:
    settings: dict[str, Any] = {}
    comments: list[str] = []
    columns = {entity: {**source.columns.get(entity, {}), **mapping} for entity, mapping in suggested.columns.items()}
    if columns:
        settings["columns"] = {
            entity: {name: mapping[name] for name in mappable_columns(entity) if name in mapping}
            for entity, mapping in {**source.columns, **columns}.items()
        }
    comments += [
        f"# columns: {entity}: {column} matches no column by its name"
        for entity, missing in suggested.open_columns.items()
        for column in missing
    ]
    if len(suggested.delimiters) == 1:
        (delimiter,) = suggested.delimiters
        settings["delimiter"] = "tab" if delimiter == "\t" else delimiter
    elif suggested.delimiters:
        comments.append("# delimiter: the files have different delimiters; use one source for each")
    chosen, doubtful = _chosen(formats)
    if chosen:
        settings["dates"] = [*source.dates, *(form for form in chosen if form not in source.dates)]
        if len(settings["dates"]) == 1:
            settings["dates"] = settings["dates"][0]
    comments += [f"# dates: {_either(forms)}; the values do not show which of them is right" for forms in doubtful]
    decimal, unclear = _chosen(marks)
    if len(decimal) == 1:
        settings["decimal"] = decimal[0]
    elif decimal:
        comments.append('# decimal: some columns need ".", others ","; use one source for each')
    elif unclear:
        comments.append('# decimal: "." or ","; the values do not show which of them is right')
    if nulls:
        kept_nulls = NULL_VALUES if source.null_values is None else source.null_values
        settings["null_values"] = [*kept_nulls, *(text for text in nulls if text not in kept_nulls)]
    if not settings and not comments:
        return ""
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=110) if settings else ""
    return "\n".join([*text.splitlines(), *comments])


def _chosen(candidates: Sequence[list[str]]) -> tuple[list[str], list[list[str]]]:
    """The settings that all columns require, and the alternatives between which the user must choose."""
    alternatives = [options for options in candidates if options]
    chosen: list[str] = []
    doubtful: list[list[str]] = []
    for options in sorted(alternatives, key=len):
        if len(options) == 1 and options[0] not in chosen:
            chosen.append(options[0])
    for options in alternatives:
        if len(options) > 1 and not set(options) & set(chosen):
            # Another column of the same source shows whether the day or the month comes first.
            matching = [form for form in options if any(_same_order(form, one) for one in chosen)]
            if len(matching) == 1:
                chosen.append(matching[0])
            elif options not in doubtful:
                doubtful.append(options)
    return chosen, doubtful


def _same_order(form: str, other: str) -> bool:
    """Whether two formats have day and month in the same order."""
    return ("%d" in form and "%m" in form and "%d" in other and "%m" in other) and (
        (form.index("%d") < form.index("%m")) == (other.index("%d") < other.index("%m"))
    )


def _either(forms: Sequence[str]) -> str:
    return " or ".join(f'"{form}"' for form in forms)


def _plain(values: Sequence[str]) -> bool:
    """Whether all values are plain numbers."""
    return all(value.strip().lstrip("+-").replace(".", "", 1).isdigit() for value in values)


def _delimiter(source: FilesSettings, sample: Sample) -> str:
    """The delimiter that the loader expects in a file."""
    return source.delimiter or delimiter_of_sample(sample)
