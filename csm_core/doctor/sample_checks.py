"""Finds problems in the first records of the sources with the loader and the rules of the gate.

``check_samples`` works in a temporary folder: each system loads copies of the first records
(``csm_core.doctor.source_samples``), its staging steps are built, and ``csm_core.staging.casts`` validates each column
of each staging model separately, so that one invalid column does not hide another.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from csm_core.accounts import account_map
from csm_core.config import Config
from csm_core.contract import ACCOUNT_MAP, ENTITIES
from csm_core.doctor.contract_samples import ContractSamples
from csm_core.doctor.json_documents import json_document, write_json_lines
from csm_core.doctor.sample_gate import SampleGate
from csm_core.doctor.sample_problems import ERROR, FILE_NOT_READ, NOTE, WARNING, Problem, Problems
from csm_core.doctor.source_samples import (
    FILES_OF_ONE,
    Sample,
    sampled_folder,
    table_sample,
    temporary_folder,
)
from csm_core.errors import CSMError, SourceError, SourceUnavailableError
from csm_core.ingest.column_names import column_key
from csm_core.ingest.source_files import JSON_LINES, OR, first_line
from csm_core.rubric import weight_parameters
from csm_core.sources.files import mixed_lists, readable_files
from csm_core.sources.registry import get_system, record_kinds
from csm_core.sources.settings import FilesSettings, PostgresSettings
from csm_core.sources.settings_base import LandingPlace, SourceSettings
from csm_core.sources.source_settings import write_source_settings
from csm_core.sources.unread_files import unread_below, unread_files
from csm_core.staging.gate import prepare
from csm_core.staging.vendor_records import build_records
from csm_core.warehouse.database import Warehouse
from csm_core.warehouse.materialize import build_model
from csm_core.warehouse.models import SqlModel, quoted, staging_models, staging_steps

SAMPLE_QUERY_ROWS = 1000
SAMPLE_QUERY_SECONDS = 30


def check_samples(config: Config, unreachable: Collection[str] = ()) -> dict[str, list[Problem]]:
    """The problems of all sources by their name; sources in ``unreachable`` are left out. Writes to no warehouse."""
    with temporary_folder() as folder:
        warehouse = Warehouse(Path(folder) / "doctor.duckdb", memory_limit=config.memory_limit, threads=config.threads)
        with warehouse.connect() as connection:
            return _Examination(config, Path(folder), connection).run(unreachable)


class _NoLog:
    """Discards log messages of the loader; the relevant ones are reported as problems."""

    def debug(self, event: str, **fields: object) -> None:
        """Discard a message."""

    def info(self, event: str, **fields: object) -> None:
        """Discard a message."""

    def warning(self, event: str, **fields: object) -> None:
        """Discard a message."""


class _Examination:
    """One call of ``check_samples``."""

    def __init__(self, config: Config, folder: Path, connection: duckdb.DuckDBPyConnection) -> None:
        self._config = config
        self._folder = folder
        self._connection = connection
        self._at = datetime.now(UTC)
        self._problems = Problems([source.label for source in config.sources])
        self._contract = ContractSamples(connection, self._problems)
        self._samples: dict[str, list[Sample]] = {}
        self._queried: list[str] = []

    def run(self, unreachable: Collection[str]) -> dict[str, list[Problem]]:
        """Examine all sources."""
        loaded: list[str] = []
        for system in dict.fromkeys(source.system for source in self._config.sources):
            sources = [
                sampled
                for source in self._config.sources
                if source.system == system and source.label not in unreachable
                if (sampled := self._sampled(source)) is not None
            ]
            if sources and self._load(system, sources):
                loaded.append(system)
        self._report_unread()
        self._report_mixed_lists()
        self._load_identity()
        for entity in ENTITIES.values():
            prepare(self._connection, entity)
        models = self._models(loaded)
        gate = SampleGate(self._connection, self._config, self._problems, self._samples)
        gate.check(models, queried=self._queried)
        self._report_unknown_accounts(gate, models)
        self._contract.suggest(self._config.sources, gate.rejections)
        return self._problems.by_source

    def _report_unknown_accounts(self, gate: SampleGate, models: Mapping[str, Mapping[str, SqlModel]]) -> None:
        """Report accounts that are only in the list of domains, if the samples have all accounts."""
        unknown = account_map.unknown_accounts(self._connection) if gate.accounts_are_whole(models) else []
        if unknown:
            file, line, account = unknown[0]
            message = account_map.unknown_accounts_text(unknown)
            self._problems.add(
                "identity",
                WARNING,
                "unknown_account",
                message,
                file=file,
                records=len(unknown),
                value=account,
                line=line,
            )

    def _report_unread(self) -> None:
        places = (self._config.identity.account_map, self._config.identity.account_domains)
        unread = {one.label: unread_files(one, self._config.sources, places) for one in self._config.sources}
        unread["identity"] = [one for place in places for one in unread_below(place)]
        for label, files in unread.items():
            for one in files:
                self._problems.add(label, NOTE, FILE_NOT_READ, f"not read: {one}", file=str(one.path))

    def _report_mixed_lists(self) -> None:
        for source in self._config.sources:
            if not isinstance(source, FilesSettings) or not source.path.is_dir():
                continue
            with suppress(SourceError):  # reported for the source as a whole
                for entity, (dated, undated) in mixed_lists(source).items():
                    message = (
                        f"{undated}: has no date in its name and is read as one full list of {entity} with "
                        f"{dated.name}, the file with the latest date. Add the date to the names of all files of the "
                        "list, or remove the other files."
                    )
                    self._problems.add(source.label, NOTE, "mixed_list", message, entity=entity, file=str(undated))

    # -- samples -------------------------------------------------------------------------------------------------

    def _sampled(self, source: SourceSettings) -> SourceSettings | None:
        """The settings of the source with its path replaced by a sample; None if there is nothing to sample."""
        copies = self._folder / "samples" / source.label
        if isinstance(source, PostgresSettings):
            self._queried.append(source.label)
            self._problems.replaces(str(self._folder / "sources" / source.label), source.label)
            return _limited(source)
        landed = getattr(source, "tables", None)
        path: Any = landed.path if isinstance(landed, LandingPlace) else getattr(source, "path", None)
        if not isinstance(path, Path) or not path.exists():
            return None
        try:
            if path.is_dir():
                self._problems.replaces(str(copies), str(path))
                files = self._contract.files(source) if isinstance(source, FilesSettings) else readable_files(path)
                sampled = sampled_folder(self._connection, path, files, copies)
                samples = sampled.samples
                for error in sampled.errors:
                    self._problems.add(source.label, ERROR, "unreadable", str(error))
                for name, count in sampled.left_out.items():
                    text = f"{path / name}: {count:,} of {count + FILES_OF_ONE:,} files are not examined"
                    self._problems.add(source.label, NOTE, "files_not_examined", text)
            elif isinstance(landed, LandingPlace):
                samples = self._landed_samples(source, path, landed, copies)
            else:
                return None
        except (CSMError, duckdb.Error) as error:
            self._problems.add(source.label, ERROR, "unreadable", first_line(error))
            return None
        self._samples[source.label] = samples
        for sample in samples:
            self._as_json_lines(source, sample)
        if isinstance(source, FilesSettings):
            self._contract.examine(source, samples)
            return source.model_copy(update={"path": copies, "entities": ()})
        if isinstance(landed, LandingPlace):
            return source.model_copy(update={"tables": landed.model_copy(update={"path": copies})})
        return source.model_copy(update={"path": copies})

    def _landed_samples(self, source: SourceSettings, path: Path, landed: LandingPlace, copies: Path) -> list[Sample]:
        """Samples of the tables in a DuckDB file that the system reads."""
        samples: list[Sample] = []
        wanted = {column_key(table.name.partition("_")[2]) for table in get_system(source.system).raw_tables}
        copies.mkdir(parents=True, exist_ok=True)
        with duckdb.connect(str(path), read_only=True) as connection:
            names = connection.execute(
                "select table_name from information_schema.tables where lower(table_schema) = lower(?) order by all",
                [landed.schema_name],
            ).fetchall()
            for (name,) in names:
                if (key := column_key(str(name))) in wanted:
                    copy = copies / f"{key}.parquet"
                    table = f"{quoted(landed.schema_name)}.{quoted(str(name))}"
                    samples.append(table_sample(connection, table, path, copy))
                    self._problems.replaces(str(copy), f"{path}: table {name}")
        self._problems.replaces(str(copies), str(path))
        return samples

    def _as_json_lines(self, source: SourceSettings, sample: Sample) -> None:
        """Report a JSON document where JSON lines are expected, and continue with its records."""
        if sample.form != JSON_LINES:
            return
        tables = [*get_system(source.system).raw_tables]
        required = {name for table in tables for one in table.required for name in one.split(OR)}
        document = json_document(sample, tuple(required))
        if document is None:
            return
        what, records = "a JSON array", ".[]"
        if document.under is not None:
            what, records = f"one JSON document with the records under {document.under!r}", _jq_key(document.under)
        name = sample.path.name
        command = f"jq -c {shlex.quote(records)} {shlex.quote(name)} > {shlex.quote(name.split('.', 1)[0] + '.jsonl')}"
        self._problems.add(
            source.label,
            ERROR,
            "not_json_lines",
            f"{sample.path}: {what}; expected JSON lines, one object on each line. Convert it: {command}",
            file=str(sample.path),
        )
        write_json_lines(sample, document.records)

    # -- loading and staging -------------------------------------------------------------------------------------

    def _load(self, system: str, sources: Sequence[SourceSettings]) -> bool:
        """Load the samples of a system. A file that the loader rejects is reported and left out."""
        remaining = [sample for source in sources for sample in self._samples.get(source.label, ())]
        left_out = 0
        while True:
            try:
                get_system(system).load(
                    self._connection, sources, loaded_at=self._at, folder=self._folder / "sources", log=_NoLog()
                )
                write_source_settings(self._connection, system, sources)
            except CSMError as error:
                message = str(error)
                wrong = next((one for one in _longest_first(remaining) if str(one.copy) in message), None)
                label = self._label_of(wrong) if wrong else sources[0].label
                if wrong is None and left_out:
                    # Files with reported problems are missing, so the source cannot be loaded.
                    return False
                if isinstance(error, SourceUnavailableError):
                    self._problems.add(label, NOTE, "not_sampled", f"no records examined: {message}")
                    return False
                self._problems.add(label, ERROR, "unreadable", message, file=str(wrong.path) if wrong else None)
                if wrong is None:
                    return False
                wrong.copy.unlink(missing_ok=True)
                remaining.remove(wrong)
                left_out += 1
            else:
                return True

    def _label_of(self, sample: Sample) -> str:
        return next(label for label, samples in self._samples.items() if sample in samples)

    def _load_identity(self) -> None:
        if self._config.identity.account_map is None and self._config.identity.account_domains is None:
            return
        try:
            account_map.load(self._connection, self._config, loaded_at=self._at, log=_NoLog())
        except CSMError as error:
            self._problems.add("identity", ERROR, "unreadable", str(error))

    def _models(self, systems: Sequence[str]) -> dict[str, dict[str, SqlModel]]:
        """The staging models of the systems by entity; builds the steps before them."""
        models: dict[str, dict[str, SqlModel]] = {}
        steps = {system: staging_steps(system) for system in systems}
        for system in systems:
            if kinds := record_kinds(system):
                build_records(self._connection, system, kinds, get_system(system).raw_tables)
            if self._build_steps(system, steps[system]):
                models[system] = staging_models(system)
        mapped = any(ACCOUNT_MAP in model.dependencies for by_entity in models.values() for model in by_entity.values())
        if mapped:
            try:
                # Without configured files, this creates the empty tables of the map.
                account_map.load(self._connection, self._config, loaded_at=self._at, log=_NoLog())
                account_map.build(
                    self._connection, self._config, [one for one in models if f"{one}_externals" in steps[one]]
                )
            except CSMError as error:
                self._problems.add("identity", ERROR, "unreadable", str(error))
                return {
                    system: {
                        entity: model for entity, model in by_entity.items() if ACCOUNT_MAP not in model.dependencies
                    }
                    for system, by_entity in models.items()
                }
        return models

    def _build_steps(self, system: str, steps: Mapping[str, SqlModel]) -> bool:
        parameters = {**self._config.sql_parameters(), **weight_parameters()}
        for step in _in_order(steps.values()):
            try:
                build_model(self._connection, step, parameters)
            except CSMError as error:
                label = next(source.label for source in self._config.sources if source.system == system)
                self._problems.add(label, NOTE, "not_staged", f"values not examined: {error}")
                return False
        return True


def _limited(source: PostgresSettings) -> PostgresSettings:
    """The source with queries that return only their first rows."""
    queries = {
        entity: query.model_copy(
            update={
                "sql": f"select * from (\n{query.sql.strip().rstrip(';')}\n) as sample limit {SAMPLE_QUERY_ROWS}",
                "incremental_by": None,
            }
        )
        for entity, query in source.queries.items()
    }
    seconds = min(source.statement_timeout_seconds, SAMPLE_QUERY_SECONDS)
    return source.model_copy(update={"queries": queries, "statement_timeout_seconds": seconds, "attempts": 1})


def _jq_key(key: str) -> str:
    return f".{key}[]" if re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", key) else f".[{json.dumps(key)}][]"


def _longest_first(samples: Iterable[Sample]) -> list[Sample]:
    return sorted(samples, key=lambda sample: -len(str(sample.copy)))


def _in_order(steps: Iterable[SqlModel]) -> list[SqlModel]:
    """The steps in the order of their dependencies."""
    waiting = {step.table: step for step in steps}
    ordered: list[SqlModel] = []
    while waiting:
        ready = [table for table, step in waiting.items() if not (step.dependencies & waiting.keys()) - {table}]
        ordered.extend(waiting.pop(table) for table in ready or list(waiting))
    return ordered
