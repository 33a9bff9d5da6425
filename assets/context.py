"""The resource of all assets: the configuration, the warehouse, and the progress of the run.

The Dagster resource contains plain objects of the domain; assets do not open files themselves.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import quote

import dagster as dg

from csm_core.config import Config
from csm_core.days.portfolio_checks import require_known
from csm_core.ingest.found_files import UnreadFile
from csm_core.operations.progress import log_progress
from csm_core.staging.record_counts import RecordCounts
from csm_core.warehouse.database import Warehouse
from csm_core.warehouse.late_changes import LateRecords, days_to_materialise, late_text
from csm_core.warehouse.model_checks import CheckOutcome

# A run with this tag does not publish; the value is the reason.
DO_NOT_PUBLISH = "csm/do_not_publish"
# A run with this tag rebuilds past days for late records; the value describes the records.
LATE = "csm/late"
# The checks that a run with this tag accepts, separated by commas, like `csm run --accept`.
ACCEPT = "csm/accept"
# The first day of a quarter: a run with this tag builds the reviews of the previous quarter, although that day has not
# ended. A manual run of the job uses the day after its own.
QUARTER = "csm/reviews_of_quarter_before"
DAY_AFTER = "the day after"
# Also of assets without partitions: `dagster asset materialize --partition-range` requires it of all selected assets.
BACKFILL = dg.BackfillPolicy.single_run()
# Of the assets that can be materialised, those of the earlier layer are first, so that the progress is shown by layer.
_PRIORITIES = {"raw": 4, "staging": 3, "intermediate": 2, "marts": 1}
CELL_CHARACTERS = 120
_STRUCTURE = frozenset("\\`*_[]<>|&!~#@$^{}")

Progress = Callable[[str, Mapping[str, Any]], None]


def in_order_of(layer: str) -> dict[str, str]:
    """Return the tags of the step of an asset in a layer, so that it runs before those of later layers."""
    return {"dagster/priority": str(_PRIORITIES[layer])}


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Pipeline:
    """The configuration, warehouse and collected results of a run.

    - ``progress`` is called with the name and the figures of each completed asset; the default logs them.
    - ``clock`` returns the current time: when records are loaded and staged, and when days are scored.
    - ``is_replay``: the records are those that the warehouse has; no file or source is read.
    - ``environment``: the environment variables of publishing; None for those of the process.
    - ``accepted`` are the checks that ``accepted_by`` accepts in this run.

    The summary of the run uses these results:

    - ``notes``: notes on a successful run.
    - ``held``: why publishing is held; ``not_published``: why nothing was published although no check failed.
    - ``late``: the earlier days that the run rebuilt, by asset; ``late_records``: the late records of these days.
    - ``unread``: the files of sources that are not read.
    - ``records``: the counts of vendors' records; ``staged``: the counts of the gate.
    - ``published``: the reports of publishing to Notion; ``crm``: to HubSpot and Salesforce; ``alerts``: of alerts.
    """

    config: Config
    warehouse: Warehouse
    progress: Progress = field(default=log_progress)
    accepted: frozenset[str] = frozenset()
    accepted_by: str = ""
    clock: Callable[[], datetime] = field(default=_now)
    is_replay: bool = False
    environment: Mapping[str, str] | None = None
    notes: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    not_published: list[str] = field(default_factory=list)
    late: dict[str, tuple[date, date]] = field(default_factory=dict)
    late_records: set[LateRecords] = field(default_factory=set)
    unread: list[UnreadFile] = field(default_factory=list)
    records: list[RecordCounts] = field(default_factory=list)
    staged: list[Any] = field(default_factory=list)
    published: list[Any] = field(default_factory=list)
    crm: list[Any] = field(default_factory=list)
    alerts: list[Any] = field(default_factory=list)

    @staticmethod
    def last_day(context: dg.AssetCheckExecutionContext) -> date:
        """Return the last day of the run of a check."""
        return date.fromisoformat(context.op_execution_context.partition_key_range.end)


def pipeline_of(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> Pipeline:
    """Return the pipeline resource of a run, whose key depends on the instance."""
    return next(one for one in context.resources._asdict().values() if isinstance(one, Pipeline))


def days_of(context: dg.AssetExecutionContext) -> tuple[date, date]:
    """Return first and last day of the partitions of this run; a range is one run.

    Raises Failure for a day that has not ended in UTC, since its records are incomplete.
    """
    span = context.partition_key_range
    days = date.fromisoformat(span.start), date.fromisoformat(span.end)
    last_ended = pipeline_of(context).clock().astimezone(UTC).date() - timedelta(days=1)
    if days[1] > last_ended:
        message = (
            f"{days[1]} has not ended yet (in UTC), so it cannot be scored or published. Choose {last_ended}, the last "
            "day that has ended, or an earlier day."
        )
        raise dg.Failure(message, allow_retries=False)
    return days


def accepted_checks(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext, pipeline: Pipeline
) -> tuple[frozenset[str], str]:
    """Return the checks that this run accepts, by option or tag, and the user who accepts them.

    Raises InputError for an unknown check.
    """
    run = context.op_execution_context.run if isinstance(context, dg.AssetCheckExecutionContext) else context.run
    tagged = frozenset(name.strip() for name in run.tags.get(ACCEPT, "").split(",") if name.strip())
    require_known(tagged)
    if not tagged:
        return pipeline.accepted, pipeline.accepted_by
    return pipeline.accepted | tagged, pipeline.accepted_by or run.tags.get("user") or f"tag {ACCEPT}"


def quarter_of(context: dg.AssetExecutionContext) -> date | None:
    """Return the first day of a quarter for which this run builds reviews before it is scored, if any."""
    tag = context.run.tags.get(QUARTER)
    if not tag:
        return None
    last = days_of(context)[1]
    day = last + timedelta(days=1) if tag == DAY_AFTER else date.fromisoformat(tag)
    return day if day > last and day.day == 1 and day.month in (1, 4, 7, 10) else None


def days_run_id(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> str:
    """Return the id of the run that builds the days: a re-execution from failure resumes the days of its root run."""
    run = context.op_execution_context.run if isinstance(context, dg.AssetCheckExecutionContext) else context.run
    return run.root_run_id or run.tags.get("dagster/root_run_id") or run.run_id


def days_between(first: date, last: date) -> list[date]:
    """Return every day from ``first`` to ``last``, both included."""
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def days_to_build(context: dg.AssetExecutionContext, connection: Any, table: str) -> tuple[date, date]:
    """Return the days of this run; a run of one day also includes earlier days that late records touch."""
    pipeline, own = pipeline_of(context), days_of(context)
    days, records = days_to_materialise(connection, table, own, pipeline.config.late_arrival_days)
    if records:
        pipeline.late[table] = (days[0], own[0] - timedelta(days=1))
        pipeline.late_records.update(records)
        context.log.warning(f"{table}: {late_text(pipeline.late[table], records)}")
    return days


def check_results(outcomes: Sequence[CheckOutcome], asset_key: dg.AssetKey) -> list[dg.AssetCheckResult]:
    """Return the outcomes of checks as Dagster results, with the failed rows in the metadata."""
    return [
        dg.AssetCheckResult(
            asset_key=asset_key,
            check_name=outcome.name,
            passed=outcome.passed,
            severity=dg.AssetCheckSeverity.ERROR,
            description=outcome.message,
            metadata={"failed_rows": outcome.failed_rows, "first_rows": preview(outcome.sample)}
            if outcome.sample
            else {},
        )
        for outcome in outcomes
    ]


@dataclass(frozen=True)
class Linked:
    """A cell of a Markdown table with a link; without a web address it is plain text."""

    text: str
    url: str


def preview(rows: Sequence[Mapping[str, Any]]) -> dg.MarkdownMetadataValue:
    """Return rows as a Markdown table; the content of cells is escaped, so that it is never interpreted as Markdown."""
    if not rows:
        return dg.MetadataValue.md("no rows")
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(_cell(row[name]) for name in names) + " |" for row in rows]
    return dg.MetadataValue.md("\n".join(lines))


def _cell(value: Any) -> str:
    if isinstance(value, Linked):
        text = _escaped(value.text) or "untitled"
        address = _address(value.url)
        return f"[{text}]({address})" if address else text
    return _escaped("" if value is None else str(value))


def _escaped(value: str) -> str:
    text = " ".join(value.split())
    if len(text) > CELL_CHARACTERS:
        text = text[: CELL_CHARACTERS - 3] + "..."
    # Punctuation as character references is never interpreted as a link, HTML or a table border.
    return "".join(f"&#{ord(one)};" if one in _STRUCTURE else one for one in text)


def _address(url: str) -> str:
    return quote(url, safe="/:?=&%#@+,;~-._") if url.startswith(("https://", "http://")) else ""
