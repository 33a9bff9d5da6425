"""Scoring against its floors, in one process and one run: ``python -m benchmarks.scoring [--rows N] [--json FILE]``.

Three tasks, each with its own measure to be held against:

- ``write``: scores into a warehouse table. Ratio: seconds over those of the floor, which is DuckDB creating a table of
  as many columns from the same input without computing anything. A copy of the finished scores stands beside it: its
  levels are ENUM, too, so the difference is what the computation itself adds.
- ``compute``: an aggregate over the scores, nothing written. Ratio: rows per second over those of the scalar scorer.
- ``frame``: a pandas frame in and a frame out. Ratio: seconds over those of scoring as many rows into a table. What
  people would write by hand, ``numpy.select`` and polars, stands beside it; their scores have to be the same bits.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from benchmarks.measure import Measure, table, timed, write_json
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
from csm_core.scoring_sql import POINT_COLUMNS, RESULT_COLUMNS
from csm_core.vectorized_scorer import VectorizedCSMHealthScorer

SCALAR_ROWS = 20_000
FRAME_ROWS = 1_000_000
REPEATS = 3


@dataclass(frozen=True)
class ScoringMeasure(Measure):
    """A measure with the most memory that the process held during it, in megabytes (0 where that is not known)."""

    peak_megabytes: float = 0.0


def run(rows: int) -> list[Measure]:
    """Every way of scoring ``rows`` rows of made-up signals; frames and the scalar scorer take a part of them."""
    with tempfile.TemporaryDirectory() as folder, duckdb.connect(str(Path(folder) / "bench.duckdb")) as connection:
        connection.execute("set enable_progress_bar = false")
        connection.execute(f"create table signals as {signals_sql(rows)}")
        connection.execute("checkpoint")
        measures: list[Measure] = []
        measures += _write(connection, rows)
        measures += _compute(connection, rows)
        measures += _frames(connection, min(rows, FRAME_ROWS))
        return measures


def signals_sql(rows: int, more: str = "") -> str:
    """Made-up signals of every level and with every null, the same for the same number of rows.

    ``more`` stands before the columns: ``"number, "`` for the row's number.
    """

    def draw(place: int, values: int) -> str:
        return f"cast(hash(number, {place}) % {values} as bigint)"

    columns = []
    for place, field in enumerate(FIELDS):
        if field.levels:
            cases = " ".join(f"when {number} then '{level}'" for number, level in enumerate(field.levels))
            value = f"case {draw(place, len(field.levels))} {cases} end"
        elif field.kind == "rate":
            value = f"cast({draw(place, 1001)} as double) / 1000 * {field.most}"
        else:
            value = f"{draw(place, min(int(field.most), 240) + 1)}{' - 20' * (field.least < 0)}"
        if field.nullable:
            value = f"case when {draw(place + 100, 8)} = 0 then null else {value} end"
        columns.append(f"{value} as {field.name}")
    return f"select {more}'account-' || number as account_id, {', '.join(columns)} from range({rows}) as rows (number)"


def _floor_sql() -> str:
    """The input's own columns in the output's number and names, with nothing computed but a cast."""
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


def _write(connection: duckdb.DuckDBPyConnection, rows: int) -> list[Measure]:
    def create(select: str) -> Callable[[], object]:
        def work() -> None:
            connection.execute(f"create table made as {select}")
            connection.execute("checkpoint")

        return work

    ways = {
        "floor: a table of the same width": create(_floor_sql()),
        "vectorised, into a table": create(VectorizedCSMHealthScorer().sql("signals")),
        "a copy of the finished scores": create("select * from finished"),
    }
    connection.execute(f"create table finished as {VectorizedCSMHealthScorer().sql('signals')}")
    connection.execute("checkpoint")
    found = _best(ways, after=lambda: connection.execute("drop table made"))
    connection.execute("drop table finished")
    least = found["floor: a table of the same width"][0]
    return [
        ScoringMeasure("write", way, rows, seconds, seconds / least, peak) for way, (seconds, peak) in found.items()
    ]


def _compute(connection: duckdb.DuckDBPyConnection, rows: int) -> list[Measure]:
    scored = VectorizedCSMHealthScorer().sql("signals")
    everything = ", ".join(f"sum({name})" for name in ("score", "raw_score", *POINT_COLUMNS))
    levels = "max(rag), max(churn_risk_level), max(churn_triggered_by), count(*) filter (where should_alert)"
    inputs = ", ".join(field.name for field in FIELDS)
    sample = connection.execute(f"select {inputs} from signals limit {SCALAR_ROWS}").fetchall()
    names = [field.name for field in FIELDS]
    signals = [CSMHealthSignals(**dict(zip(names, row, strict=True))) for row in sample]
    scorer = CSMHealthScorer()
    ways = {
        "scalar": lambda: [scorer.score(one) for one in signals],
        "vectorised, sum of the scores": lambda: connection.execute(f"select sum(score) from ({scored})").fetchall(),
        "vectorised, every column": lambda: connection.execute(
            f"select {everything}, {levels} from ({scored})"
        ).fetchall(),
    }
    found = _best(ways)
    per_second = len(signals) / found["scalar"][0]
    measures: list[Measure] = []
    for way, (seconds, peak) in found.items():
        number = len(signals) if way == "scalar" else rows
        measures.append(ScoringMeasure("compute", way, number, seconds, number / seconds / per_second, peak))
    return measures


def _frames(connection: duckdb.DuckDBPyConnection, rows: int) -> list[Measure]:
    frame = connection.execute(f"select * from signals limit {rows}").df()
    scorer = VectorizedCSMHealthScorer()
    results: dict[str, Any] = {}

    def keep(way: str, work: Callable[[], Any]) -> Callable[[], object]:
        def kept() -> None:
            results.pop(way, None)
            results[way] = work()

        return kept

    def into_table() -> None:
        connection.execute(f"create table made as {scorer.sql(f'(select * from signals limit {rows})')}")
        connection.execute("checkpoint")

    ways: dict[str, Callable[[], object]] = {
        "vectorised, score_frame": keep("frame", lambda: scorer.score_frame(frame)),
        "pandas, numpy.select": keep("numpy", lambda: score_with_numpy(frame)),
    }
    try:
        import polars
    except ImportError:
        print("polars is not installed: its measure is left out")
    else:
        given = polars.from_pandas(frame)
        ways["polars"] = keep("polars", lambda: score_with_polars(given))
    least, peak = _best({"table": into_table}, after=lambda: connection.execute("drop table made"))["table"]
    found = _best(ways)
    _require_same(results)
    return [
        ScoringMeasure("frame", "vectorised, into a table", rows, least, 1.0, peak),
        *(ScoringMeasure("frame", way, rows, seconds, seconds / least, top) for way, (seconds, top) in found.items()),
    ]


def _best(
    ways: dict[str, Callable[[], object]], after: Callable[[], object] | None = None
) -> dict[str, tuple[float, float]]:
    """The least seconds of each way and the most memory, the ways taking turns so that all meet the same weather."""
    found: dict[str, tuple[float, float]] = {}
    for _ in range(REPEATS):
        for way, work in ways.items():
            _forget_peak()
            seconds = timed(work)
            peak = _peak_megabytes()
            if after:
                after()
            earlier = found.get(way, (seconds, peak))
            found[way] = (min(seconds, earlier[0]), max(peak, earlier[1]))
    return found


def _forget_peak() -> None:
    marker = Path("/proc/self/clear_refs")
    if marker.exists():
        marker.write_text("5")


def _peak_megabytes() -> float:
    status = Path("/proc/self/status")
    if not status.exists():
        return 0.0
    (line,) = (line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def _require_same(results: dict[str, Any]) -> None:
    reference = results["frame"]
    for way, found in results.items():
        for name in (*RESULT_COLUMNS, *POINT_COLUMNS):
            if not np.array_equal(_plain(reference[name]), _plain(found[name])):
                message = f"{way} and score_frame differ in {name}"
                raise AssertionError(message)


def _plain(column: Any) -> np.ndarray[Any, Any]:
    series = pd.Series(column.to_numpy()).astype(object)
    return series.where(series.notna(), None).to_numpy()


# -- the same by hand -------------------------------------------------------------------------------------------------


def _meets(values: Any, band: Band) -> Any:
    match band.compare:
        case Compare.AT_MOST:
            return values <= band.edge
        case Compare.AT_LEAST:
            return values >= band.edge
        case Compare.ABOVE:
            return values > band.edge


def score_with_numpy(frame: pd.DataFrame) -> pd.DataFrame:
    """As people write it with pandas: one ``numpy.select`` per signal."""
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
            taken = np.minimum(frame[signal.deduction.field].to_numpy(), signal.deduction.most)
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
    """As people write it with polars: chains of ``when`` and ``then``."""
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
            taken = pl.min_horizontal(pl.col(signal.deduction.field), pl.lit(signal.deduction.most))
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
    parser.add_argument("--json", type=Path, help="write the measures to this file, too")
    options = parser.parse_args()
    measures = [measure for rows in options.rows for measure in run(rows)]
    print(table(measures))
    for measure in measures:
        if isinstance(measure, ScoringMeasure) and measure.peak_megabytes:
            print(f"{measure.task}, {measure.way}, {measure.rows:,} rows: peak {measure.peak_megabytes:,.0f} MB")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        write_json(measures, options.json)


if __name__ == "__main__":
    main()
