"""Applies the rules of the gate to samples and reports rejected values by column and reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import duckdb

from csm_core.config import Config
from csm_core.contract import ACCOUNT_COLUMN, ACCOUNTS, ENTITIES, UPDATED, VERSION, Entity, Reason
from csm_core.doctor.sample_problems import ERROR, NOTE, WARNING, Problems
from csm_core.doctor.source_samples import Sample
from csm_core.doctor.value_formats import date_formats, decimal_marks, null_texts
from csm_core.ingest.source_files import first_line
from csm_core.sources.files import SYSTEM as FILES
from csm_core.sources.postgres import SYSTEM as POSTGRES
from csm_core.staging.casts import validate
from csm_core.staging.plan import Limits
from csm_core.staging.vendor_records import REJECTED_RECORDS
from csm_core.system.terminal import printable
from csm_core.system.text_table import counted, is_or_are
from csm_core.warehouse.models import SqlModel, literal

CONTRACT_SYSTEMS = (FILES, POSTGRES)
"""Systems whose records have the contract's own columns."""
_VALUES = 500
# The record that an identifier names may be absent because it is not in the sample of its table.
_OF_OTHER_RECORDS = [str(Reason.UNKNOWN_ACCOUNT), str(Reason.UNKNOWN_REFERENCE)]


@dataclass(frozen=True)
class Rejection:
    """Values of one column in files of one source that the gate rejects for one reason."""

    label: str
    entity: str
    column: str | None
    reason: Reason
    records: int
    values: tuple[str, ...]
    value: str | None
    file: str
    line: int


class SampleGate:
    """Validates the staging models of samples."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        config: Config,
        problems: Problems,
        samples: Mapping[str, Sequence[Sample]],
    ) -> None:
        self._connection = connection
        self._config = config
        self._problems = problems
        self._samples = samples
        self._by_copy = {str(one.copy): (label, one) for label, all_ in samples.items() for one in all_}
        self._limits = Limits(config.max_rejected_percent, config.min_rejected)
        self.rejections: list[Rejection] = []

    def check(self, models: Mapping[str, Mapping[str, SqlModel]], queried: Sequence[str]) -> None:
        """Validate all models, given by system and entity, and report the records that a run rejects."""
        connection = self._connection
        connection.execute(
            "create or replace temp table rejected_values (entity varchar, system varchar, field varchar, "
            "reason varchar, value varchar, source_file varchar, source_line bigint)"
        )
        connection.execute(
            "create or replace temp table sample_files (source_file varchar, label varchar, added varchar[], "
            "guessed varchar[])"
        )
        for copy, (label, sample) in self._by_copy.items():
            connection.execute(
                "insert into sample_files values (?, ?, ?, ?)",
                [copy, label, sorted(sample.added), sorted(sample.guessed)],
            )
        self._note_accounts(models)
        complete = self.accounts_are_whole(models)
        for system, by_entity in models.items():
            for name, model in by_entity.items():
                try:
                    self._validate(ENTITIES[name], system, model, known_accounts=complete)
                    self._report(ENTITIES[name], system, model, queried)
                except duckdb.Error as error:
                    # A run fails with the same message.
                    message = f"{name} cannot be staged: {first_line(error)}"
                    self._problems.add(self._queried_label(system, queried), ERROR, "not_staged", message)

    def _note_accounts(self, models: Mapping[str, Mapping[str, SqlModel]]) -> None:
        """Put the account ids of the samples, including rejected records, into the staged accounts."""
        accounts = ENTITIES[ACCOUNTS]
        only_key = replace(accounts, columns=(accounts.columns[0],))
        for system, by_entity in models.items():
            if ACCOUNTS in by_entity:
                validated = validate(only_key, _select(by_entity[ACCOUNTS]), self._types(by_entity[ACCOUNTS]), system)
                self._connection.execute(
                    f"insert into {accounts.table} ({ACCOUNT_COLUMN}) select distinct {ACCOUNT_COLUMN} "
                    f"from ({validated.sql}) where {ACCOUNT_COLUMN} is not null"
                )

    def accounts_are_whole(self, models: Mapping[str, Mapping[str, SqlModel]]) -> bool:
        """Whether the samples have all accounts; only then can an account be reported as unknown."""
        if any(source.label not in self._samples for source in self._config.sources):
            return False
        if not any(ACCOUNTS in by_entity for by_entity in models.values()):
            return False
        files = self._connection.execute(
            "select distinct path from raw.loads where entity = ? and status = 'loaded'", [ACCOUNTS]
        ).fetchall()
        read = {path for (path,) in files}
        complete = all(
            sample.whole and not {ACCOUNT_COLUMN} & sample.added
            for path, (_, sample) in self._by_copy.items()
            if path in read
        )
        lost = any(problem.kind == "unreadable" for own in self._problems.by_source.values() for problem in own)
        return bool(read) and complete and not lost

    def _types(self, model: SqlModel) -> dict[str, str]:
        described = self._connection.execute(f"describe {_select(model)}").fetchall()
        return {name: kind for name, kind, *_ in described}

    def _validate(self, entity: Entity, system: str, model: SqlModel, *, known_accounts: bool) -> None:
        types = self._types(model)
        # With no column selected, only the version is validated.
        for columns in (*((column,) for column in entity.columns), ()):
            validated = validate(replace(entity, columns=columns), _select(model), types, system)
            name = columns[0].name if columns else UPDATED
            numbers = [
                (number, reason)
                for number, (field, reason) in enumerate(validated.problems, start=1)
                if field == name and self._counts(system, name, reason, known_accounts=known_accounts)
            ]
            for number, reason in numbers:
                self._connection.execute(
                    f"insert into rejected_values select ?, ?, ?, ?, _value, _source_file, _source_line "
                    f"from ({validated.sql}) where _problem = {number}",
                    [entity.name, system, name, str(reason)],
                )
        # The declared fields of vendors' records are validated before the staging models.
        self._connection.execute(
            "insert into rejected_values select entity, system, field, reason, value, source_file, source_line "
            f"from {REJECTED_RECORDS} where entity = ? and system = ? and (? or not list_contains(?, reason))",
            [entity.name, system, self._is_whole(system), _OF_OTHER_RECORDS],
        )

    def _counts(self, system: str, column: str, reason: Reason, *, known_accounts: bool) -> bool:
        """Whether a rejection in a sample is also one in the whole source."""
        if reason is Reason.UNMATCHED:
            return False
        if reason is Reason.UNKNOWN_ACCOUNT:
            return known_accounts and system in CONTRACT_SYSTEMS
        if reason is not Reason.MISSING_REQUIRED or system in CONTRACT_SYSTEMS:
            return True
        # A value from another table may be missing because its record is not in the sample of that table.
        return column != ACCOUNT_COLUMN and self._is_whole(system)

    def _is_whole(self, system: str) -> bool:
        labels = [source.label for source in self._config.sources if source.system == system]
        return all(label in self._samples and all(one.whole for one in self._samples[label]) for label in labels)

    def _report(self, entity: Entity, system: str, model: SqlModel, queried: Sequence[str]) -> None:
        connection = self._connection
        own = f"entity = {literal(entity.name)} and system = {literal(system)}"
        # A column that was added to a sample is reported as missing, once for its file.
        connection.execute(
            f"delete from rejected_values where {own} and reason = 'missing_required' and exists (select 1 "
            "from sample_files where sample_files.source_file = rejected_values.source_file "
            "and list_contains(added, field))"
        )
        broken = (
            "select source_file, source_line, reason, detail from raw.unparseable_rows "
            f"where entity = {literal(entity.name)} and system = {literal(system)}"
        )
        guessed = (
            "exists (select 1 from sample_files where sample_files.source_file = rejected_values.source_file "
            "and list_contains(guessed, field))"
        )
        read = self._one(f"select count(*) from ({_select(model)})") + self._one(f"select count(*) from ({broken})")
        rejected = self._one(
            f"select count(*) from (select source_file, source_line from rejected_values where {own} and not {guessed} "
            f"union select source_file, source_line from ({broken}))"
        )
        read += self._one(f"select count(*) from {REJECTED_RECORDS} where {own}")
        too_many = self._limits.exceeded(rejected, read)
        self._report_broken(entity, broken, too_many=too_many)
        rows = connection.execute(
            f"select coalesce(label, '') as label, field, reason, {guessed} as is_guess, count(*), "
            f"list(distinct value)[:{_VALUES}], "
            "arg_min({'value': value, 'file': source_file, 'line': source_line}, "
            "{'file': source_file, 'line': source_line}) "
            f"from rejected_values left join sample_files using (source_file) where {own} group by all"
        ).fetchall()
        places = {name: place for place, name in enumerate(entity.column_names)}
        rows.sort(key=lambda row: (row[0], places.get(row[1], len(places)), str(row[1]), row[2]))
        types = self._types(model)
        for label, field, reason, is_guess, count, values, first in rows:
            named = label or self._queried_label(system, queried)
            rejection = Rejection(
                named,
                entity.name,
                field,
                Reason(reason),
                count,
                tuple(value for value in values if value is not None),
                first["value"],
                self._problems.named(str(first["file"])),
                first["line"],
            )
            self.rejections.append(rejection)
            column = VERSION if field == UPDATED else field
            wholly = column in types and reason != Reason.MISSING_REQUIRED
            if wholly:
                values = f"count(nullif(trim(cast({column} as varchar)), ''))"
                wholly = count >= self._one(f"select {values} from ({_select(model)})")
            level = NOTE if is_guess else ERROR if too_many or wholly else WARNING
            self._problems.add(
                named,
                level,
                "rejected_values",
                _message(connection, rejection, read, is_guess=is_guess, settable=system == FILES),
                file=rejection.file,
                entity=entity.name,
                column=field,
                reason=reason,
                records=count,
                value=rejection.value,
                line=rejection.line,
            )

    def _report_broken(self, entity: Entity, broken: str, *, too_many: bool) -> None:
        rows = self._connection.execute(
            "select source_file, reason, count(*), arg_min(detail, source_line), min(source_line) "
            f"from ({broken}) group by source_file, reason order by all"
        ).fetchall()
        for file, reason, count, detail, line in rows:
            label, sample = self._by_copy.get(str(file), ("", None))
            name = str(sample.path) if sample else self._problems.named(str(file))
            lines = f"{counted(count, 'line')} {is_or_are(count)}"
            self._problems.add(
                label or next(iter(self._problems.by_source)),
                ERROR if too_many else WARNING,
                "unparseable_rows",
                f"{name}, line {line}: {lines} rejected: {reason} ({Reason(reason).meaning}): {detail}",
                file=name,
                entity=entity.name,
                reason=reason,
                records=count,
                line=line,
            )

    def _queried_label(self, system: str, queried: Sequence[str]) -> str:
        labels = [source.label for source in self._config.sources if source.system == system]
        return next((label for label in labels if label in queried), labels[0])

    def _one(self, sql: str) -> int:
        row = self._connection.execute(sql).fetchone()
        return int(row[0]) if row else 0


def _select(model: SqlModel) -> str:
    return model.sql.rstrip().rstrip(";")


def _message(
    connection: duckdb.DuckDBPyConnection, rejection: Rejection, read: int, *, is_guess: bool, settable: bool
) -> str:
    subject = f"{rejection.entity}.{rejection.column}" if rejection.column else rejection.entity
    if is_guess:
        subject = f"if the hint for {subject} is right: {subject}"
    value = "" if rejection.value is None else f"{printable(rejection.value, 80)!r}, "
    reason = rejection.reason
    text = (
        f"{subject}: {rejection.records:,} of {counted(read, 'record')} rejected: {reason} ({reason.meaning}). "
        f"First: {value}line {rejection.line} of {rejection.file}."
    )
    hint = format_hint(connection, rejection) if settable else ""
    return f"{text} {hint}" if hint else text


def format_hint(connection: duckdb.DuckDBPyConnection, rejection: Rejection) -> str:
    """The hint about a setting that reads the values; empty if there is none."""
    hints = [_form_hint(connection, rejection)]
    nulls = null_texts(rejection.values)
    if nulls:
        hints.append(f"If {', '.join(map(repr, nulls))} means null, add it to `null_values` for this source.")
    return " ".join(filter(None, hints))


def _form_hint(connection: duckdb.DuckDBPyConnection, rejection: Rejection) -> str:
    if rejection.reason is Reason.INVALID_TIMESTAMP:
        forms = date_formats(connection, rejection.values)
        if len(forms) == 1:
            return f'Set `dates: "{forms[0]}"` for this source.'
        if forms:
            listed = " or ".join(f'`dates: "{form}"`' for form in forms)
            return f"Set {listed}: the values do not show which of them is right."
    if rejection.reason is Reason.INVALID_NUMBER:
        marks = decimal_marks(connection, rejection.values)
        if len(marks) == 1:
            return f'Set `decimal: "{marks[0]}"` for this source.'
        if marks:
            return 'Set `decimal: "."` or `decimal: ","`: the values do not show which of them is right.'
    return ""
