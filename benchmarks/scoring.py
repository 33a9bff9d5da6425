"""Compares scoring with its floors in one run: ``python -m benchmarks.scoring [--rows N …] [--json FILE]``.

Three tasks, each with its own floor:

- ``write``: scores are written to a warehouse table. Ratio: seconds divided by the seconds of the floor, in which
  DuckDB creates a table with the same number of columns from the same input without computation. A second variant
  copies the finished scores, with ENUM columns, so the difference is the cost of the computation.
- ``compute``: an aggregate over the scores, without writing. Ratio: rows per second divided by those of the scalar
  scorer.
- ``frame``: a pandas frame as input and output. Ratio: seconds divided by the seconds of scoring the same number of
  rows into a table. Typical implementations with ``numpy.select`` and polars are measured too; their scores must be
  bit-identical.
"""

import argparse
import gc
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from benchmarks.measure import Measure, table, timed, write_json
from csm_core.config import PROJECT_ROOT
from csm_core.health_scorer import CSMHealthScorer
from csm_core.rubric import (
    ALERT_RAGS,
    ALERT_RISKS,
    BEHAVIOURAL_LOGIN_DAYS,
    BEHAVIOURAL_TRENDS,
    CHURN_RULES,
    CONTRACT_RAGS,
    FIELDS,
    RAGS,
    RUBRIC,
    TAM_CAPS,
    Band,
    Bands,
    Compare,
    Levels,
    Rate,
)
from csm_core.schemas import CSMHealthSignals
from csm_core.scoring.sql import POINT_COLUMNS, RESULT_COLUMNS
from csm_core.vectorized_scorer import VectorizedCSMHealthScorer

SCALAR_ROWS = 20_000
FRAME_ROWS = 1_000_000
REPEATS = 3


Prepare = Callable[[duckdb.DuckDBPyConnection, int], Callable[[], Any]]
"""Prepares the input of a variant from the table of signals and the number of rows; returns the measured function."""


def run(rows: int) -> list[Measure]:
    """Measure all variants of scoring ``rows`` rows of generated signals; frames and the scalar scorer use fewer rows.

    The variants alternate in one process to measure seconds. Memory is measured afterwards, with a separate process for
    each variant, because one variant would affect the next.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.duckdb"
        with _opened(path) as connection:
            connection.execute(f"create table signals as {signals_sql(rows)}")
            connection.execute(f"create table finished as {VectorizedCSMHealthScorer().sql('signals')}")
            connection.execute("checkpoint")
            seconds = {task: _seconds(connection, task, rows) for task in WAYS}
        return [
            Measure(
                task,
                way,
                _rows_of(task, rows, way),
                took,
                _ratio(task, rows, way, of),
                *_memory_in_a_process(path, task, way, rows),
            )
            for task, of in seconds.items()
            for way, took in of.items()
        ]


def _rows_of(task: str, rows: int, way: str = "") -> int:
    most = SCALAR_ROWS if way == SCALAR else FRAME_ROWS if task == "frame" else rows
    return min(rows, most)


def _ratio(task: str, rows: int, way: str, seconds: dict[str, float]) -> float:
    """The ratio to the first variant of the task: of seconds per row, or of rows per second for ``compute``."""
    first = next(iter(seconds))
    mine, other = (seconds[one] / _rows_of(task, rows, one) for one in (way, first))
    return other / mine if task == "compute" else mine / other


def _opened(path: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(str(path))
    connection.execute("set enable_progress_bar = false")
    return connection


def signals_sql(rows: int, more: str = "") -> str:
    """A query that generates signals with all levels and nulls, deterministic for a number of rows.

    ``more`` is SQL before the columns: ``"number, "`` for the row number.
    """

    def draw(place: int, values: int) -> str:
        return f"cast(hash(number, {place}) % {values} as bigint)"

    columns = []
    for place, field in enumerate(FIELDS):
        if field.levels:
            cases = " ".join(f"when {number} then '{level}'" for number, level in enumerate(field.levels))
            value = f"case {draw(place, len(field.levels))} {cases} end"
        elif field.kind == "rate":
            value = f"cast({draw(place, 1001)} as double) / 1000 * {field.maximum}"
        else:
            value = f"{draw(place, min(int(field.maximum), 240) + 1)}{' - 20' * (field.minimum < 0)}"
        if field.nullable:
            value = f"case when {draw(place + 100, 8)} = 0 then null else {value} end"
        columns.append(f"{value} as {field.name}")
    return f"select {more}'account-' || number as account_id, {', '.join(columns)} from range({rows}) as rows (number)"


def _floor_sql() -> str:
    """The columns of the input with the names of the output; the only computation is a cast."""
    texts = [field.name for field in FIELDS if field.levels]
    numbers = [field.name for field in FIELDS if not field.levels]
    values = {
        "score": "feature_adoption_rate",
        "raw_score": "seats_utilization_rate",
        "rag": "tam_health_rag",
        "churn_risk_level": texts[0],
        "churn_triggered_by": texts[1],
        "should_alert": "open_ticket_count > 5",
    }
    for place, name in enumerate(POINT_COLUMNS):
        values[name] = f"cast({numbers[place % len(numbers)]} as double)"
    shown = ", ".join(f"{values[name]} as {name}" for name in (*RESULT_COLUMNS, *POINT_COLUMNS))
    return f"select account_id, {shown} from signals"


def _creating(select: Callable[[int], str]) -> Prepare:
    def prepare(connection: duckdb.DuckDBPyConnection, rows: int) -> Callable[[], None]:
        def work() -> None:
            connection.execute(f"create or replace table made as {select(rows)}")
            connection.execute("checkpoint")

        return work

    return prepare


def _asking(columns: str) -> Prepare:
    scored = VectorizedCSMHealthScorer().sql("signals")
    return lambda connection, _: lambda: connection.execute(f"select {columns} from ({scored})").fetchall()


def _scalar(connection: duckdb.DuckDBPyConnection, _: int) -> Callable[[], object]:
    names = [field.name for field in FIELDS]
    sample = connection.execute(f"select {', '.join(names)} from signals limit {SCALAR_ROWS}").fetchall()
    signals = [CSMHealthSignals(**dict(zip(names, row, strict=True))) for row in sample]
    scorer = CSMHealthScorer()
    return lambda: [scorer.score(one) for one in signals]


def _on_a_frame(score: Callable[[Any], Any], convert: Callable[[pd.DataFrame], Any] = lambda frame: frame) -> Prepare:
    def prepare(connection: duckdb.DuckDBPyConnection, rows: int) -> Callable[[], Any]:
        given = convert(connection.execute(f"select * from signals limit {rows}").df())
        return lambda: score(given)

    return prepare


def _to_polars(frame: pd.DataFrame) -> Any:
    import polars

    return polars.from_pandas(frame)


def _polars() -> dict[str, Prepare]:
    if find_spec("polars") is None:
        return {}
    return {"polars": _on_a_frame(lambda given: score_with_polars(given), _to_polars)}


SCALAR = "scalar"
WAYS: dict[str, dict[str, Prepare]] = {
    "write": {
        "floor: a table of the same width": _creating(lambda _: _floor_sql()),
        "vectorised, into a table": _creating(lambda _: VectorizedCSMHealthScorer().sql("signals")),
        "a copy of the finished scores": _creating(lambda _: "select * from finished"),
    },
    "compute": {
        SCALAR: _scalar,
        "vectorised, sum of the scores": _asking("sum(score)"),
        "vectorised, every column": _asking(
            ", ".join(f"sum({name})" for name in ("score", "raw_score", *POINT_COLUMNS))
            + ", max(rag), max(churn_risk_level), max(churn_triggered_by), count(*) filter (where should_alert)"
        ),
    },
    "frame": {
        "vectorised, into a table": _creating(
            lambda rows: VectorizedCSMHealthScorer().sql(f"(select * from signals limit {rows})")
        ),
        "vectorised, score_frame": _on_a_frame(lambda given: VectorizedCSMHealthScorer().score_frame(given)),
        "pandas, numpy.select": _on_a_frame(lambda given: score_with_numpy(given)),
        **_polars(),
    },
}
"""Task → variant → preparation; the first variant of each task is the floor."""


def _seconds(connection: duckdb.DuckDBPyConnection, task: str, rows: int) -> dict[str, float]:
    """The minimum seconds of each variant; the variants alternate, so other load affects all of them."""
    works = {way: prepare(connection, _rows_of(task, rows)) for way, prepare in WAYS[task].items()}
    found: dict[str, float] = {}
    reference: dict[str, str] = {}
    for _ in range(REPEATS):
        for way, work in works.items():
            results: list[Any] = []
            seconds = timed(lambda work=work, results=results: results.append(work()))
            found[way] = min(seconds, found.get(way, seconds))
            if task == "frame" and results[0] is not None:
                _require_same(way, _digests(results[0]), reference)
    connection.execute("drop table if exists made")
    return found


def _digests(scored: Any) -> dict[str, str]:
    """A hash of the values of each column, so that results need not be kept for the comparison."""
    return {name: sha256(repr(_plain(scored[name])).encode()).hexdigest() for name in (*RESULT_COLUMNS, *POINT_COLUMNS)}


def _plain(column: Any) -> list[Any]:
    series = pd.Series(column.to_numpy()).astype(object)
    return series.where(series.notna(), None).tolist()


def _require_same(way: str, found: dict[str, str], reference: dict[str, str]) -> None:
    for name, digest in found.items():
        if reference.setdefault(name, digest) != digest:
            message = f"{way} and score_frame differ in {name}"
            raise AssertionError(message)


# -- memory -----------------------------------------------------------------------------------------------------------


def _memory_in_a_process(path: Path, task: str, way: str, rows: int) -> tuple[float | None, float | None]:
    asked = [sys.executable, "-m", "benchmarks.scoring", "--memory-of", task, way, "--database", str(path)]
    answer = subprocess.run([*asked, "--rows", str(rows)], check=True, capture_output=True, text=True, cwd=PROJECT_ROOT)
    held, peak = json.loads(answer.stdout)
    return held, peak


def memory_of(path: Path, task: str, way: str, rows: int) -> tuple[float | None, float | None]:
    """The memory of this process in megabytes before a variant, and the peak during one execution of it."""
    with _opened(path) as connection:
        work = WAYS[task][way](connection, _rows_of(task, rows))
        gc.collect()
        held = _status_megabytes("VmRSS")
        if held is None:
            return None, None
        # Reset the peak (man proc_pid_clear_refs), because preparing the input may have set it.
        Path("/proc/self/clear_refs").write_text("5")
        result = work()
        peak = _status_megabytes("VmHWM")
        del result
        connection.execute("drop table if exists made")
        return held, peak


def _status_megabytes(name: str) -> float | None:
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    (line,) = (line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) / 1024


# -- other libraries --------------------------------------------------------------------------------------------------


def _meets(values: Any, band: Band) -> Any:
    match band.compare:
        case Compare.AT_MOST:
            return values <= band.edge
        case Compare.AT_LEAST:
            return values >= band.edge
        case Compare.ABOVE:
            return values > band.edge


def score_with_numpy(frame: pd.DataFrame) -> pd.DataFrame:
    """A typical pandas implementation: one ``numpy.select`` per signal."""
    points: dict[str, Any] = {}
    for signal in RUBRIC:
        column = frame[signal.name]
        match signal.rule:
            case Rate():
                given = float(signal.weight) * column.to_numpy()
            case Levels(levels):
                values = column.to_numpy(dtype=object)
                given = np.select([values == level for level, _ in levels], [float(number) for _, number in levels])
            case Bands(bands, otherwise, null):
                values = column.to_numpy(dtype=np.float64, na_value=np.nan)
                conditions = [np.isnan(values), *(_meets(values, band) for band in bands)]
                choices = [float(null or 0), *(float(band.points) for band in bands)]
                given = np.select(conditions, choices, float(otherwise))
        if signal.deduction:
            taken = np.minimum(frame[signal.deduction.field].to_numpy(), signal.deduction.maximum)
            given = np.maximum(given - taken, 0.0)
        points[f"{signal.name}_points"] = given
    rated = [f"{signal.name}_points" for signal in RUBRIC if isinstance(signal.rule, Rate)]
    raw = points[rated[0]] + sum(given for name, given in points.items() if name not in rated)
    tam = frame["tam_health_rag"].to_numpy(dtype=object)
    score = raw * np.select([tam == level for level, _ in TAM_CAPS], [factor for _, factor in TAM_CAPS], 1.0)
    thresholds = VectorizedCSMHealthScorer().thresholds
    bands = [score >= thresholds.green_threshold, score >= thresholds.amber_threshold]
    rag = np.select(bands, np.array(RAGS[:2], dtype=object), RAGS[2])
    days = frame["days_to_renewal"].to_numpy(dtype=np.float64, na_value=np.nan)
    logins = frame["login_frequency_days"].to_numpy(dtype=np.float64, na_value=np.nan)
    contract = np.isin(rag.astype(str), CONTRACT_RAGS) & (days <= thresholds.churn_window_days)
    behavioural = frame["usage_trend"].isin(BEHAVIOURAL_TRENDS).to_numpy() & ~(logins <= BEHAVIOURAL_LOGIN_DAYS)
    cells = [(rule, level, risk) for rule in CHURN_RULES for level, risk in rule.risks]
    met = [(contract == rule.contract) & (behavioural == rule.behavioural) & (rag == level) for rule, level, _ in cells]
    risk = np.select(met, np.array([risk for *_, risk in cells], dtype=object), None)
    trigger = np.select(met, np.array([rule.called for rule, *_ in cells], dtype=object), None)
    return pd.DataFrame(
        {
            "account_id": frame["account_id"],
            "score": score,
            "raw_score": raw,
            "rag": rag,
            "churn_risk_level": risk,
            "churn_triggered_by": trigger,
            "should_alert": np.isin(rag.astype(str), ALERT_RAGS) | np.isin(risk.astype(str), ALERT_RISKS),
            **points,
        }
    )


def score_with_polars(frame: Any) -> Any:
    """A typical polars implementation: chains of ``when`` and ``then``."""
    import polars as pl

    def chain(cases: list[tuple[Any, Any]], otherwise: Any) -> Any:
        expression = pl.when(cases[0][0]).then(pl.lit(cases[0][1]))
        for condition, value in cases[1:]:
            expression = expression.when(condition).then(pl.lit(value))
        return expression.otherwise(pl.lit(otherwise))

    points: list[Any] = []
    for signal in RUBRIC:
        column = pl.col(signal.name)
        match signal.rule:
            case Rate():
                given = column * float(signal.weight)
            case Levels(levels):
                given = chain([(column == level, float(number)) for level, number in levels], None)
            case Bands(bands, otherwise, null):
                cases = [(column.is_null(), float(null))] if null is not None else []
                cases += [(_meets(column, band), float(band.points)) for band in bands]
                given = chain(cases, float(otherwise))
        if signal.deduction:
            taken = pl.min_horizontal(pl.col(signal.deduction.field), pl.lit(signal.deduction.maximum))
            given = pl.max_horizontal(given - taken, pl.lit(0.0))
        points.append(given.alias(f"{signal.name}_points"))
    rated = [f"{signal.name}_points" for signal in RUBRIC if isinstance(signal.rule, Rate)]
    whole = pl.sum_horizontal([name for name in POINT_COLUMNS if name not in rated])
    cap = chain([(pl.col("tam_health_rag") == level, factor) for level, factor in TAM_CAPS], 1.0)
    thresholds = VectorizedCSMHealthScorer().thresholds
    bands_of = [
        (pl.col("score") >= thresholds.green_threshold, RAGS[0]),
        (pl.col("score") >= thresholds.amber_threshold, RAGS[1]),
    ]
    contract = pl.col("rag").is_in(list(CONTRACT_RAGS)) & (
        pl.col("days_to_renewal").is_not_null() & (pl.col("days_to_renewal") <= thresholds.churn_window_days)
    )
    behavioural = pl.col("usage_trend").is_in(list(BEHAVIOURAL_TRENDS)) & (
        pl.col("login_frequency_days").is_null() | (pl.col("login_frequency_days") > BEHAVIOURAL_LOGIN_DAYS)
    )
    cells = [
        ((contract == rule.contract) & (behavioural == rule.behavioural) & (pl.col("rag") == level), rule.called, risk)
        for rule in CHURN_RULES
        for level, risk in rule.risks
    ]
    alert = pl.col("rag").is_in(list(ALERT_RAGS)) | pl.col("churn_risk_level").is_in(list(ALERT_RISKS))
    return (
        frame.lazy()
        .with_columns(points)
        .with_columns((pl.col(rated[0]) + whole).alias("raw_score"))
        .with_columns((pl.col("raw_score") * cap).alias("score"))
        .with_columns(chain(bands_of, RAGS[2]).alias("rag"))
        .with_columns(
            chain([(condition, risk) for condition, _, risk in cells], None).alias("churn_risk_level"),
            chain([(condition, called) for condition, called, _ in cells], None).alias("churn_triggered_by"),
        )
        .with_columns(alert.alias("should_alert"))
        .select("account_id", *RESULT_COLUMNS, *POINT_COLUMNS)
        .collect()
    )


def main() -> None:
    """Measure scoring alone."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scoring", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000], help="rows, one run for each number")
    parser.add_argument("--json", type=Path, help="also write the measures to this file")
    parser.add_argument(
        "--memory-of", nargs=2, metavar=("TASK", "WAY"), help="measure only the memory of one variant, as JSON"
    )
    parser.add_argument("--database", type=Path, help="the file of --memory-of")
    options = parser.parse_args()
    if options.memory_of:
        print(json.dumps(memory_of(options.database, *options.memory_of, options.rows[0])))
        return
    measures = [measure for rows in options.rows for measure in run(rows)]
    print(table(measures))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        write_json(measures, options.json)


if __name__ == "__main__":
    main()
