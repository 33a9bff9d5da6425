"""The rubric as SQL expressions: points, score, RAG and churn risk for the warehouse.

The expressions are plain SQL over column names (or replacement expressions). Spark evaluates them with the same result.
They compute in IEEE double with a single rounding, like the scalar scorer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from csm_core.rubric import (
    ALERT_RAGS,
    ALERT_RISKS,
    BEHAVIOURAL_LOGIN_DAYS,
    BEHAVIOURAL_TRENDS,
    CHURN_RISKS,
    CHURN_RULES,
    CHURN_TRIGGERS,
    CONTRACT_RAGS,
    FIELDS,
    RAGS,
    RUBRIC,
    TAM_CAPS,
    Bands,
    ChurnRule,
    Field,
    Levels,
    Rate,
    Signal,
)
from csm_core.warehouse.models import literal

RESULT_COLUMNS = ("score", "raw_score", "rag", "churn_risk_level", "churn_triggered_by", "should_alert")
POINT_COLUMNS = tuple(f"{signal.name}_points" for signal in RUBRIC)


def enum_type(levels: Sequence[str]) -> str:
    """Return DuckDB's ENUM type of these levels: one byte per row, sorted in this order."""
    return f"enum({', '.join(literal(level) for level in levels)})"


def _typed(levels: Sequence[str]) -> Callable[[str], str]:
    kind = enum_type(levels)
    return lambda level: f"cast({literal(level)} as {kind})"


@dataclass(frozen=True)
class LiteralEncoding:
    """The SQL literals of RAG, churn risk and churn trigger levels, which determine the column types."""

    rag: Callable[[str], str]
    risk: Callable[[str], str]
    trigger: Callable[[str], str]


TEXT = LiteralEncoding(literal, literal, literal)
"""Levels as text, which every engine supports."""

ENUM = LiteralEncoding(_typed(RAGS), _typed(CHURN_RISKS), _typed(CHURN_TRIGGERS))
"""Levels as DuckDB's ENUM, which is written in half the time of text and compares with text."""


def double(number: float) -> str:
    """Return a number as a double literal; a plain literal would be a decimal."""
    return f"cast({number!r} as double)"


def points_sql(signal: Signal, names: Mapping[str, str] | None = None) -> str:
    """Return the points of a signal as a double; ``names`` maps inputs to expressions. Only a rate has a fraction."""
    value = _name(signal.name, names)
    match signal.rule:
        case Rate():
            return f"({double(float(signal.weight))} * {value})"
        case Levels(points):
            cases = " ".join(f"when {literal(level)} then {double(float(number))}" for level, number in points)
            expression = f"case {value} {cases} end"
        case Bands(bands, otherwise, null):
            cases = f"when {value} is null then {double(float(null))} " if null is not None else ""
            cases += " ".join(
                f"when {value} {band.compare} {_edge(signal, band.edge)} then {double(float(band.points))}"
                for band in bands
            )
            expression = f"case {cases} else {double(float(otherwise))} end"
    if signal.deduction:
        deduction = f"least({_name(signal.deduction.field, names)}, {signal.deduction.maximum})"
        expression = f"greatest({expression} - cast({deduction} as double), {double(0.0)})"
    return f"({expression})"


def raw_score_sql(points: Mapping[str, str]) -> str:
    """Return the raw score from the points of all signals: the points of the rate, plus the sum of the integer points.

    Doubles add small integers exactly, so only the last addition rounds, as the rubric requires.
    """
    rated = [points[signal.name] for signal in RUBRIC if isinstance(signal.rule, Rate)]
    whole = [points[signal.name] for signal in RUBRIC if not isinstance(signal.rule, Rate)]
    return f"({' + '.join(rated)} + ({' + '.join(whole)}))"


def score_sql(raw_score: str, tam_health_rag: str) -> str:
    """Return the score after the technical-account cap; a factor of 1 does not change the bits."""
    cases = " ".join(f"when {literal(level)} then {double(factor)}" for level, factor in TAM_CAPS)
    return f"({raw_score} * case {tam_health_rag} {cases} else {double(1.0)} end)"


def rag_sql(score: str, green: str, amber: str, encoding: LiteralEncoding = TEXT) -> str:
    """Return the band: GREEN from the green threshold, AMBER from the amber threshold, RED below."""
    best, middle, worst = (encoding.rag(rag) for rag in RAGS)
    return f"(case when {score} >= {green} then {best} when {score} >= {amber} then {middle} else {worst} end)"


def contract_sql(rag: str, window: str, encoding: LiteralEncoding = TEXT) -> str:
    """Return whether the contract trigger applies: true or false, never null."""
    listed = ", ".join(encoding.rag(level) for level in CONTRACT_RAGS)
    return f"({rag} in ({listed}) and days_to_renewal is not null and days_to_renewal <= {window})"


def behavioural_sql() -> str:
    """Return whether the behavioural trigger applies: true or false, never null."""
    return (
        f"(usage_trend in ({_listed(BEHAVIOURAL_TRENDS)}) "
        f"and (login_frequency_days is null or login_frequency_days > {BEHAVIOURAL_LOGIN_DAYS}))"
    )


def trigger_sql(contract: str, behavioural: str, encoding: LiteralEncoding = TEXT) -> str:
    """Return the churn triggers that apply: ``both``, ``contract_proximity``, ``behavioral``, or null."""
    return _by_triggers(contract, behavioural, lambda rule: encoding.trigger(rule.called) if rule.called else "null")


def risk_sql(contract: str, behavioural: str, rag: str, encoding: LiteralEncoding = TEXT) -> str:
    """Return the churn risk for the triggers that apply and the RAG."""
    return _by_triggers(contract, behavioural, lambda rule: _risk_of(rule, rag, encoding))


def alert_sql(rag: str, risk: str, encoding: LiteralEncoding = TEXT) -> str:
    """Return whether the account needs an alert."""
    rags = ", ".join(encoding.rag(level) for level in ALERT_RAGS)
    risks = ", ".join(encoding.risk(level) for level in ALERT_RISKS)
    return f"({rag} in ({rags}) or {risk} in ({risks}))"


def scoring_sql(
    source: str,
    *,
    green: str,
    amber: str,
    churn_window_days: str,
    keys: Sequence[str],
    encoding: LiteralEncoding = ENUM,
) -> str:
    """Return a SELECT that scores every row of ``source`` (a relation or a sub-select in parentheses) in one pass.

    ``green``, ``amber`` and ``churn_window_days`` are expressions; ``keys`` are columns to pass through. The columns
    are keys, score, raw_score, rag, churn_risk_level, churn_triggered_by, should_alert and the points of every signal.
    With ``encoding=TEXT`` the levels are text and the SQL also runs on Spark.
    """
    kept = _unique([*keys, *(name for name in (green, amber, churn_window_days) if name.isidentifier())])
    inputs = ("usage_trend", "login_frequency_days", "days_to_renewal", "tam_health_rag")
    passed = "".join(f"{name}, " for name in kept)
    pointed = ", ".join(f"{points_sql(signal)} as {signal.name}_points" for signal in RUBRIC)
    carried = ", ".join(_unique([*kept, *inputs]))
    names = {signal.name: f"{signal.name}_points" for signal in RUBRIC}
    points = ", ".join(POINT_COLUMNS)
    head = f"{', '.join(keys)}, " if keys else ""
    return (
        f"with pointed as (select {carried}, {pointed} from {source}), "
        f"summed as (select {carried}, {points}, {raw_score_sql(names)} as raw_score from pointed), "
        f"capped as (select {carried}, {points}, raw_score, {score_sql('raw_score', 'tam_health_rag')} as score "
        "from summed), "
        f"rated as (select {carried}, {points}, raw_score, score, {rag_sql('score', green, amber, encoding)} as rag "
        "from capped), "
        # The triggers are columns, since the cases below would evaluate them once per branch.
        f"triggered as (select {passed}{points}, raw_score, score, rag, "
        f"{contract_sql('rag', churn_window_days, encoding)} as contract, {behavioural_sql()} as behavioural "
        "from rated), "
        f"risked as (select {passed}{points}, raw_score, score, rag, "
        f"{trigger_sql('contract', 'behavioural', encoding)} as churn_triggered_by, "
        f"{risk_sql('contract', 'behavioural', 'rag', encoding)} as churn_risk_level from triggered) "
        f"select {head}score, raw_score, rag, churn_risk_level, churn_triggered_by, "
        f"{alert_sql('rag', 'churn_risk_level', encoding)} as should_alert, {points} from risked"
    )


def invalid_rows_sql(source: str, keys: Sequence[str]) -> str:
    """Return a SELECT of the rows of ``source`` outside the contract: keys, the first invalid ``field``, ``value``."""
    cases = " ".join(f"when {is_invalid_sql(field)} then {literal(field.name)}" for field in FIELDS)
    values = " ".join(f"when {literal(field.name)} then cast({field.name} as varchar)" for field in FIELDS)
    head = "".join(f"{key}, " for key in keys)
    inputs = ", ".join(field.name for field in FIELDS)
    return (
        f"with validated as (select {head}{inputs}, case {cases} end as field from {source}) "
        f"select {head}field, case field {values} end as value from validated where field is not null"
    )


def is_invalid_sql(field: Field, names: Mapping[str, str] | None = None) -> str:
    """Return whether an input is outside the contract: true or false, never null."""
    name = _name(field.name, names)
    if field.kind == "level":
        invalid = f"{name} not in ({_listed(field.levels)})"
    else:
        # NaN compares greater than every number, so the upper bound catches it.
        invalid = f"{name} < {_bound(field, field.minimum)} or {name} > {_bound(field, field.maximum)}"
    if field.nullable:
        return f"({name} is not null and ({invalid}))"
    return f"({name} is null or {invalid})"


def _by_triggers(contract: str, behavioural: str, outcome: Callable[[ChurnRule], str]) -> str:
    of = {(rule.contract, rule.behavioural): outcome(rule) for rule in CHURN_RULES}
    return (
        f"(case when {contract} then case when {behavioural} then {of[True, True]} else {of[True, False]} end "
        f"when {behavioural} then {of[False, True]} else {of[False, False]} end)"
    )


def _risk_of(rule: ChurnRule, rag: str, encoding: LiteralEncoding) -> str:
    *others, (_, last) = rule.risks
    cases = " ".join(
        f"when {rag} = {encoding.rag(level)} then {encoding.risk(risk)}" for level, risk in others if risk != last
    )
    return f"case {cases} else {encoding.risk(last)} end" if cases else encoding.risk(last)


def _listed(values: Sequence[str]) -> str:
    return ", ".join(literal(value) for value in values)


def _bound(field: Field, bound: float) -> str:
    return double(bound) if field.kind == "rate" else f"{int(bound)}"


def _edge(signal: Signal, edge: float) -> str:
    return _bound(next(field for field in FIELDS if field.name == signal.name), edge)


def _name(name: str, names: Mapping[str, str] | None) -> str:
    return names[name] if names else name


def _unique(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(names))
