"""The vectorised health score of tables and frames in DuckDB, bit-identical to the scalar scorer.

Frames are passed as columns, without a Python object per row. The input frame is not changed.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, cast

import duckdb
import numpy as np
import pandas as pd

from csm_core.errors import SignalError
from csm_core.rubric import (
    CHURN_RISKS,
    CHURN_TRIGGERS,
    DEFAULT_AMBER_THRESHOLD,
    DEFAULT_CHURN_WINDOW_DAYS,
    DEFAULT_GREEN_THRESHOLD,
    FIELDS,
    MAX_INTEGER,
    RAGS,
    Field,
)
from csm_core.schemas import is_number
from csm_core.scoring.input_columns import ACCOUNT, KEYS, UnusedColumnsWarning, input_columns, key_columns, unused_note
from csm_core.scoring.sql import POINT_COLUMNS, RESULT_COLUMNS, double, invalid_rows_sql, scoring_sql
from csm_core.system.text_table import counted
from csm_core.thresholds import Thresholds

_UNKNOWN = -2
_CATEGORIES = {
    "rag": RAGS,
    "churn_risk_level": CHURN_RISKS,
    "churn_triggered_by": CHURN_TRIGGERS,
}


class VectorizedCSMHealthScorer:
    """Scores many accounts at once. Thresholds and errors are those of ``CSMHealthScorer``."""

    def __init__(
        self,
        *,
        green_threshold: float = DEFAULT_GREEN_THRESHOLD,
        amber_threshold: float = DEFAULT_AMBER_THRESHOLD,
        churn_window_days: int = DEFAULT_CHURN_WINDOW_DAYS,
    ) -> None:
        self.thresholds = Thresholds(green_threshold, amber_threshold, churn_window_days)

    def sql(self, source: str, keys: Sequence[str] = (ACCOUNT,)) -> str:
        """Return the SELECT that scores every row of ``source``, a relation or a sub-select in parentheses."""
        return scoring_sql(
            source,
            green=double(float(self.thresholds.green_threshold)),
            amber=double(float(self.thresholds.amber_threshold)),
            churn_window_days=str(self.thresholds.churn_window_days),
            keys=keys,
        )

    def score_frame(self, signals: pd.DataFrame) -> pd.DataFrame:
        """Return one row per input row, in the same order and with the same index.

        The columns are ``account_id``, ``score``, ``raw_score``, ``rag``, ``churn_risk_level``,
        ``churn_triggered_by``, ``should_alert`` and the points of every signal; levels are categories. Columns with a
        default are optional. ``avg_ticket_sentiment`` is an alias of ``support_sentiment``. In a nullable column, NaN
        is null. Column names are compared by ``column_key``; an ``UnusedColumnsWarning`` lists columns that are not
        inputs.

        Raises SignalError, with account and field, for a row outside the contract, a missing or misnamed column, a
        column of the wrong type, and a duplicate account (per tenant and day, if the frame has these columns).
        """
        names = [str(column) for column in signals.columns]
        columns = input_columns(names, "the frame")
        if unused := unused_note(names):
            warnings.warn(f"the frame: {unused}", UnusedColumnsWarning, stacklevel=2)
        keys = {column: key for key, column in key_columns(names).items() if column != key}
        if keys:
            signals = signals.rename(columns=keys)
        _require_unique(signals)
        cleaned = _frame({field.name: _cleaned(field, signals, columns) for field in FIELDS}, len(signals))
        with duckdb.connect() as connection:
            connection.register("signals", cleaned)
            _reject_invalid_rows(connection, signals)
            scored = connection.execute(self._framed()).fetchnumpy()
        for name, levels in _CATEGORIES.items():
            scored[name] = pd.Categorical.from_codes(scored[name], categories=list(levels), validate=False)
        # Copy the ids, so that the result shares no memory with the input frame.
        result = _frame({ACCOUNT: signals[ACCOUNT].array.copy(), **scored}, len(signals))
        result.index = signals.index
        return result

    def _framed(self) -> str:
        # Levels are returned as codes: as text they would be a Python object per row.
        shown = ", ".join(
            f"cast(coalesce(enum_code({name}), -1) as tinyint) as {name}" if name in _CATEGORIES else name
            for name in (*RESULT_COLUMNS, *POINT_COLUMNS)
        )
        return f"select {shown} from ({self.sql('signals', keys=())})"


def _frame(columns: Mapping[str, Any], rows: int) -> pd.DataFrame:
    """Return a frame of these arrays; without ``copy=False`` pandas would copy them into blocks."""
    return pd.DataFrame(dict(columns), index=pd.RangeIndex(rows), copy=False)


def _require_unique(signals: pd.DataFrame) -> None:
    accounts = cast("pd.Series", signals[ACCOUNT])
    empty = np.asarray(accounts.isna(), dtype=bool)
    if empty.any():
        message = f"no account_id in {counted(int(empty.sum()), 'row')}, the first at position {int(empty.argmax())}"
        raise SignalError(message)
    keys = [key for key in KEYS if key in signals.columns]
    twice = np.asarray(signals.duplicated(subset=keys), dtype=bool)
    if twice.any():
        account = accounts.iloc[int(twice.argmax())]
        message = f"account {account!r} appears more than once in the frame (by {', '.join(keys)})"
        raise SignalError(message)


def _cleaned(field: Field, signals: pd.DataFrame, columns: dict[str, str]) -> Any:
    if field.name not in columns:
        return _constant(field, len(signals))
    column = cast("pd.Series", signals[columns[field.name]])
    return _level(field, column, signals) if field.levels else _number(field, column, signals)


def _constant(field: Field, rows: int) -> Any:
    """Return a missing column: the field's default, or null."""
    if not field.levels:
        value = int(field.default) if field.default is not None else 0
        return pd.arrays.IntegerArray(np.full(rows, value), np.full(rows, field.default is None))
    code = field.levels.index(str(field.default)) if field.default is not None else -1
    return pd.Categorical.from_codes(np.full(rows, code, dtype=np.int8), categories=list(field.levels))


def _level(field: Field, column: pd.Series, signals: pd.DataFrame) -> pd.Categorical:
    # Factorising processes each distinct value once and, for Arrow columns, creates no Python string per row.
    try:
        codes, distinct = pd.factorize(column)
    except TypeError:
        message = f"{field.name} has values that are not text ({column.dtype}){_first_account(signals, column)}"
        raise SignalError(message) from None
    code_of = {level: code for code, level in enumerate(field.levels)}
    place = np.array(
        [code_of.get(value, _UNKNOWN) if isinstance(value, str) else _UNKNOWN for value in distinct] + [-1]
    )
    levels = place[codes].astype(np.int8)
    _reject_where(levels == _UNKNOWN, field, column, signals, f"is not one of {', '.join(field.levels)}")
    if not field.nullable:
        _reject_where(levels == -1, field, column, signals, "is missing")
    return pd.Categorical.from_codes(levels, categories=list(field.levels), validate=False)


def _number(field: Field, column: pd.Series, signals: pd.DataFrame) -> Any:
    plain = column.astype(column.cat.categories.dtype) if isinstance(column.dtype, pd.CategoricalDtype) else column
    kind = pd.api.types.infer_dtype(plain, skipna=True)
    if kind == "unknown-array" and plain.isna().all():
        kind = "empty"  # Arrow has a separate type for columns of nulls.
    if kind not in ("integer", "floating", "mixed-integer-float", "decimal", "empty"):
        present = np.asarray(plain.notna(), dtype=bool)
        wrong = present & np.array([not is_number(value) for value in plain], dtype=bool)
        if not present.any() or (wrong == present).all():
            first = _first_account(signals, plain)
            message = f"{field.name} has {kind} values ({plain.dtype}), expected numbers{first}"
            raise SignalError(message)
        _reject_where(wrong, field, column, signals, "is not a number")
    if kind == "integer" and field.kind == "integer":
        return _whole_from_integers(field, plain, signals)
    numbers = plain.to_numpy(dtype=np.float64, na_value=np.nan)
    missing = np.isnan(numbers)
    _reject_where(np.isinf(numbers), field, column, signals, "is not a finite number")
    if not field.nullable:
        _reject_where(missing, field, column, signals, "is missing or not a number")
    if field.kind == "rate":
        return numbers
    whole = np.where(missing, 0.0, numbers)
    _reject_where(whole != np.floor(whole), field, column, signals, "is not an integer")
    _reject_where(np.abs(whole) >= float(MAX_INTEGER), field, column, signals, "is out of range")
    return pd.arrays.IntegerArray(whole.astype(np.int64), missing)


def _whole_from_integers(field: Field, column: pd.Series, signals: pd.DataFrame) -> Any:
    """Return integers without converting them to floating point, which would change large ones."""
    missing = np.asarray(column.isna(), dtype=bool)
    if not field.nullable:
        _reject_where(missing, field, column, signals, "is missing or not a number")
    try:
        if pd.api.types.is_unsigned_integer_dtype(column.dtype):
            unsigned = column.to_numpy(dtype=np.uint64, na_value=0)
            _reject_where(unsigned > MAX_INTEGER, field, column, signals, "is out of range")
        numbers = column.to_numpy(dtype=np.int64, na_value=0)
    except OverflowError:
        large = np.array([not pd.isna(value) and abs(value) > MAX_INTEGER for value in column], dtype=bool)
        _reject_where(large, field, column, signals, "is out of range")
        raise
    return pd.arrays.IntegerArray(numbers, missing) if missing.any() else numbers


def _reject_where(
    bad: np.ndarray[Any, Any], field: Field, column: pd.Series, signals: pd.DataFrame, reason: str
) -> None:
    if bad.any():
        position = int(bad.argmax())
        account, value = signals[ACCOUNT].iloc[position], column.iloc[position]
        more = f" ({int(bad.sum()):,} such rows)" if bad.sum() > 1 else ""
        shown = value.item() if isinstance(value, np.generic) else value
        message = f"account {account!r}: {field.name} {reason}: {shown!r}{more}"
        raise SignalError(message)


def _reject_invalid_rows(connection: duckdb.DuckDBPyConnection, signals: pd.DataFrame) -> None:
    if connection.execute(f"select 1 from ({invalid_rows_sql('signals', ())}) limit 1").fetchone() is None:
        return
    numbered = "(select row_number() over () - 1 as position, * from signals)"
    row = connection.execute(
        f"select position, field, value, count(*) over () from ({invalid_rows_sql(numbered, ('position',))}) "
        "order by position limit 1"
    ).fetchone()
    if row:
        position, field, value, rows = row
        more = f" ({rows:,} such rows)" if rows > 1 else ""
        message = f"account {signals[ACCOUNT].iloc[position]!r}: {field} is out of range: {value}{more}"
        raise SignalError(message)


def _first_account(signals: pd.DataFrame, column: pd.Series) -> str:
    present = np.asarray(column.notna(), dtype=bool)
    return f"; the first is account {signals[ACCOUNT].iloc[int(present.argmax())]!r}" if present.any() else ""
