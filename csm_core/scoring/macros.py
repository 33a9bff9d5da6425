"""The rubric as DuckDB macros, so that a plain ``duckdb`` session on the published copy can compute scores.

The macros are plain SQL, generated from the expressions that fill ``marts.csm_health_scores``; they do not need this
project. Their parameters have the names of the inputs, in the order of ``marts.csm_health_signals``, and can be passed
by position or by name: ``select csm_score(0.5, 'stable', invoice_payment_status := 'current', …)``. DuckDB 1.2 accepts
parameters with a default only by name. A value outside the contract raises an error with the name of the input.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import duckdb

from csm_core.rubric import (
    CHURN_RISKS,
    DEFAULT_AMBER_THRESHOLD,
    DEFAULT_CHURN_WINDOW_DAYS,
    DEFAULT_GREEN_THRESHOLD,
    FIELDS,
    RAGS,
    RUBRIC,
    Field,
    Signal,
)
from csm_core.scoring.as_known import create_as_known
from csm_core.scoring.sql import (
    alert_sql,
    behavioural_sql,
    contract_sql,
    double,
    is_invalid_sql,
    points_sql,
    rag_sql,
    raw_score_sql,
    risk_sql,
    score_sql,
    trigger_sql,
)
from csm_core.warehouse.models import literal

_FIELDS = {field.name: field for field in FIELDS}
_TAM = "tam_health_rag"
_CHURN_INPUTS = ("days_to_renewal", "usage_trend", "login_frequency_days")


@dataclass(frozen=True)
class Macro:
    """A macro: its name, its parameters with their defaults, its expression, and a description."""

    name: str
    parameters: tuple[str, ...]
    expression: str
    description: str

    @property
    def statement(self) -> str:
        """The statement that creates the macro."""
        return f"create or replace macro {self.name}({', '.join(self.parameters)}) as {self.expression}"


def create_macros(connection: duckdb.DuckDBPyConnection) -> None:
    """Create every macro in the current database, with its description as a comment.

    The table macro of the scores as they were known is created where their tables are.
    """
    for macro in macros():
        connection.execute(macro.statement)
        connection.execute(f"comment on macro {macro.name} is {literal(macro.description)}")
    create_as_known(connection)


def macros() -> tuple[Macro, ...]:
    """Return all macros; a macro for a single signal precedes those for scores."""
    return (*_point_macros(), *_score_macros(), *_risk_macros())


def _point_macros() -> Iterator[Macro]:
    for signal in RUBRIC:
        yield Macro(
            f"csm_points_{signal.name}",
            tuple(_inputs(signal)) if len(_inputs(signal)) == 1 else _with_defaults(_inputs(signal)),
            _points(signal),
            f"Points of {signal.name} before the cap, at most {signal.weight}.",
        )


def _score_macros() -> Iterator[Macro]:
    inputs = [field.name for field in FIELDS if field.name != _TAM]
    raw = raw_score_sql({signal.name: _points(signal) for signal in RUBRIC})
    yield Macro(
        "csm_raw_score",
        _with_defaults(inputs),
        raw,
        "Sum of the points of all signals, before the technical-account cap, 0 to 100.",
    )
    yield Macro(
        "csm_score",
        _with_defaults([field.name for field in FIELDS]),
        _guarded([_FIELDS[_TAM]], score_sql(raw, _TAM)),
        "The health score, after the technical-account cap, 0 to 100; the inputs are those of csm_health_signals.",
    )


def _risk_macros() -> Iterator[Macro]:
    thresholds = (f"green := {double(DEFAULT_GREEN_THRESHOLD)}", f"amber := {double(DEFAULT_AMBER_THRESHOLD)}")
    yield Macro(
        "csm_rag",
        ("score", *thresholds),
        "case when score is null then null when not (0 <= amber and amber < green and green <= 100) "
        "then error('csm_rag: the thresholds must be 0 <= amber < green <= 100') "
        f"else {rag_sql('score', 'green', 'amber')} end",
        "The band of a score (GREEN, AMBER or RED) for the given thresholds.",
    )
    parameters = ("rag", *_CHURN_INPUTS, f"churn_window_days := {DEFAULT_CHURN_WINDOW_DAYS}")
    guards = [_rag_guard(), *(_guard(_FIELDS[name]) for name in _CHURN_INPUTS)]
    guards.append(
        "when churn_window_days is null or churn_window_days < 0 "
        "then error('churn_window_days must be a number of days, 0 or more')"
    )
    triggers = (contract_sql("rag", "churn_window_days"), behavioural_sql())
    yield Macro(
        "csm_churn_triggered_by",
        parameters,
        f"case {' '.join(guards)} else {trigger_sql(*triggers)} end",
        "The churn triggers that apply: both, contract_proximity, behavioral, or null for none.",
    )
    yield Macro(
        "csm_churn_risk",
        parameters,
        f"case {' '.join(guards)} else {risk_sql(*triggers, 'rag')} end",
        f"The churn risk ({', '.join(CHURN_RISKS)}), from the band and the inputs of the churn triggers.",
    )
    yield Macro(
        "csm_should_alert",
        ("rag", "churn_risk_level"),
        f"case {_rag_guard()} when churn_risk_level is null or churn_risk_level not in ({_listed(CHURN_RISKS)}) "
        f"then error('churn_risk_level must be one of {', '.join(CHURN_RISKS)}') "
        f"else {alert_sql('rag', 'churn_risk_level')} end",
        "Whether an account with this band and churn risk needs an alert.",
    )


def _inputs(signal: Signal) -> list[str]:
    return [signal.name, *([signal.deduction.field] if signal.deduction else [])]


def _points(signal: Signal) -> str:
    return _guarded([_FIELDS[name] for name in _inputs(signal)], points_sql(signal))


def _guarded(fields: Sequence[Field], expression: str) -> str:
    return f"(case {' '.join(_guard(field) for field in fields)} else {expression} end)"


def _guard(field: Field) -> str:
    value = f"coalesce(cast({field.name} as varchar), 'null')"
    message = literal(f"{field.name} is outside its range or levels: ")
    return f"when {is_invalid_sql(field)} then error({message} || {value})"


def _rag_guard() -> str:
    message = f"rag must be one of {', '.join(RAGS)}"
    return f"when rag is null or rag not in ({_listed(RAGS)}) then error({literal(message)})"


def _with_defaults(names: Sequence[str]) -> tuple[str, ...]:
    """Return parameters. After the first optional parameter, all have a default, as DuckDB requires.

    A required input then has the default null, which its guard rejects with the name of the input.
    """
    parameters: list[str] = []
    optional = False
    for name in names:
        field = _FIELDS[name]
        optional = optional or not field.required
        default = "null" if field.default is None else literal(field.default)
        parameters.append(f"{name} := {default}" if optional else name)
    return tuple(parameters)


def _listed(values: Sequence[str]) -> str:
    return ", ".join(literal(value) for value in values)
