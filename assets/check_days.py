"""Reports the outcomes of asset checks by day, so that a failed check is shown on the failed partition only.

Dagster assigns a check result to a partition only in a run of a single partition. A run of a range, which every
``csm run`` is, therefore reports one evaluation for each day. Each evaluation costs several milliseconds in Dagster's
storage, so a run of more than ``MOST_DAYS`` days reports the result of each check once, and the failed days.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData

MOST_DAYS = 14
_Target = AssetCheckEvaluationTargetMaterializationData


@dataclass(frozen=True)
class DayResult:
    """The result of a check for a day."""

    day: date
    result: dg.AssetCheckResult


def evaluations(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext,
    of_run: Sequence[dg.AssetCheckResult],
    by_day: Sequence[DayResult],
) -> Iterator[Any]:
    """Yield the events of a step with the results of its partitioned checks: of the run, and by day.

    Each evaluation refers to the latest materialisation of its day, so the step must have materialised the asset
    before. Days before the first partition are left out.
    """
    op = context.op_execution_context
    layer = op.job_def.asset_layer
    blocking = _days_in(op.partition_key_range) <= MOST_DAYS
    if not blocking:
        # The results of the run fail the step; those of the failed days only show where.
        yield from of_run
        by_day = [one for one in by_day if not one.result.passed]
    else:
        for key in map(_key_of, of_run):
            if key in op.selected_asset_check_keys:
                yield dg.Output(None, layer.get_op_output_name(key))
    targets = _targets(op.instance, by_day)
    for one in by_day:
        key, day = _key_of(one.result), one.day.isoformat()
        partitions = layer.asset_graph.get(key).partitions_def
        if partitions is None or not partitions.has_partition_key(day):
            continue
        yield dg.AssetCheckEvaluation(
            asset_key=key.asset_key,
            check_name=key.name,
            passed=one.result.passed,
            metadata=one.result.metadata,
            target_materialization_data=targets.get((key.asset_key, day)),
            severity=one.result.severity,
            description=one.result.description,
            blocking=blocking,
            partition=day,
        )


def _days_in(span: dg.PartitionKeyRange) -> int:
    return (date.fromisoformat(span.end) - date.fromisoformat(span.start)).days + 1


def _key_of(result: dg.AssetCheckResult) -> dg.AssetCheckKey:
    if result.asset_key is None or result.check_name is None:
        message = "a result by day must name its asset and its check"
        raise ValueError(message)
    return dg.AssetCheckKey(result.asset_key, result.check_name)


def _targets(instance: dg.DagsterInstance, by_day: Iterable[DayResult]) -> dict[tuple[dg.AssetKey, str], _Target]:
    """Return the latest materialisation of each day: Dagster ignores a check of an earlier one."""
    wanted = dict.fromkeys((_key_of(one.result).asset_key, one.day.isoformat()) for one in by_day)
    found: dict[tuple[dg.AssetKey, str], _Target] = {}
    for asset in {asset for asset, _ in wanted}:
        days = [day for one, day in wanted if one == asset]
        # The run has just materialised its days, so the first query usually finds all of them.
        for some in (days, *([day] for day in days)):
            missing = [day for day in some if (asset, day) not in found]
            if not missing:
                continue
            latest = instance.fetch_materializations(
                dg.AssetRecordsFilter(asset_key=asset, asset_partitions=missing), limit=len(missing)
            )
            for record in latest.records:
                target = _Target(storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp)
                found.setdefault((asset, str(record.partition_key)), target)
    return found
