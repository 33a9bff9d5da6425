"""The rubric as SQL expressions: the one place where points, score, RAG and churn risk are written for the warehouse.

Every expression is plain SQL on column names (or on any expressions given for them), stays within what Spark reads the
same, and computes in IEEE double with a single rounding, as the scalar scorer does.
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
    """DuckDB's ENUM of these levels: a byte a row, and it sorts as they stand."""
    return f"enum({', '.join(literal(level) for level in levels)})"


def _typed(levels: Sequence[str]) -> Callable[[str], str]:
    kind = enum_type(levels)
    return lambda level: f"cast({literal(level)} as {kind})"


@dataclass(frozen=True)
class Written:
    """How a level of RAG, churn risk and churn trigger is written, and so which type a column of them has."""

    rag: Callable[[str], str]
    risk: Callable[[str], str]
    trigger: Callable[[str], str]


TEXT = Written(literal, literal, literal)
"""As text, which every engine has."""

ENUM = Written(_typed(RAGS), _typed(CHURN_RISKS), _typed(CHURN_TRIGGERS))
"""As DuckDB's ENUM, which is written to a table in half the time of text; it compares with text as text does."""


def double(number: float) -> str:
    """A number as a double: a bare decimal literal would make the arithmetic decimal."""
    return f"cast({number!r} as double)"


def points_sql(signal: Signal, names: Mapping[str, str] | None = None) -> str:
    """The points of a signal as a double, whole but for the rate's; ``names`` maps inputs to expressions."""
    value = _name(signal.name, names)
    match signal.rule:
        case Rate():
            return f"({double(float(signal.weight))} * {value})"
        case Levels(points):
            cases = " ".join(f"when {literal(level)} then {double(float(given))}" for level, given in points)
            given = f"case {value} {cases} end"
        case Bands(bands, otherwise, null):
            cases = f"when {value} is null then {double(float(null))} " if null is not None else ""
            cases += " ".join(
                f"when {value} {band.compare} {_edge(signal, band.edge)} then {double(float(band.points))}"
                for band in bands
            )
            given = f"case {cases} else {double(float(otherwise))} end"
    if signal.deduction:
        taken = f"least({_name(signal.deduction.field, names)}, {signal.deduction.most})"
        given = f"greatest({given} - cast({taken} as double), {double(0.0)})"
    return f"({given})"


def raw_score_sql(points: Mapping[str, str]) -> str:
    """The raw score from the points of every signal: the rate's, plus the sum of the whole points.

    Doubles add small whole numbers exactly, so only the last addition rounds, as the rule asks.
    """
    rated = [points[signal.name] for signal in RUBRIC if isinstance(signal.rule, Rate)]
    whole = [points[signal.name] for signal in RUBRIC if not isinstance(signal.rule, Rate)]
    return f"({' + '.join(rated)} + ({' + '.join(whole)}))"


def score_sql(raw_score: str, tam_health_rag: str) -> str:
    """The score after the technical-account cap; times 1 is the same bits."""
    cases = " ".join(f"when {literal(level)} then {double(factor)}" for level, factor in TAM_CAPS)
    return f"({raw_score} * case {tam_health_rag} {cases} else {double(1.0)} end)"


def rag_sql(score: str, green: str, amber: str, written: Written = TEXT) -> str:
    """GREEN from the green threshold, AMBER from the amber one, RED below."""
    best, middle, worst = (written.rag(rag) for rag in RAGS)
    return f"(case when {score} >= {green} then {best} when {score} >= {amber} then {middle} else {worst} end)"


def contract_sql(rag: str, window: str, written: Written = TEXT) -> str:
    """Whether the contract trigger holds: true or false, never null."""
    listed = ", ".join(written.rag(level) for level in CONTRACT_RAGS)
    return f"({rag} in ({listed}) and days_to_renewal is not null and days_to_renewal <= {window})"


def behavioural_sql() -> str:
    """Whether the behavioural trigger holds: true or false, never null."""
    return (
        f"(usage_trend in ({_listed(BEHAVIOURAL_TRENDS)}) "
        f"and (login_frequency_days is null or login_frequency_days > {BEHAVIOURAL_LOGIN_DAYS}))"
    )


def trigger_sql(contract: str, behavioural: str, written: Written = TEXT) -> str:
    """Which churn triggers hold: ``both``, ``contract_proximity``, ``behavioral``, or null."""
    return _by_triggers(contract, behavioural, lambda rule: written.trigger(rule.called) if rule.called else "null")


def risk_sql(contract: str, behavioural: str, rag: str, written: Written = TEXT) -> str:
    """The churn risk of the triggers that hold at a RAG."""
    return _by_triggers(contract, behavioural, lambda rule: _risk_of(rule, rag, written))


def alert_sql(rag: str, risk: str, written: Written = TEXT) -> str:
    """Whether someone should be told."""
    rags = ", ".join(written.rag(level) for level in ALERT_RAGS)
    risks = ", ".join(written.risk(level) for level in ALERT_RISKS)
    return f"({rag} in ({rags}) or {risk} in ({risks}))"


def scoring_sql(
    source: str, *, green: str, amber: str, churn_window_days: str, keys: Sequence[str], written: Written = ENUM
) -> str:
    """A SELECT that scores every row of ``source`` (a relation or a sub-select in parentheses) in one pass.

    ``green``, ``amber`` and ``churn_window_days`` are expressions over the row, ``keys`` the columns passed through.
    Gives keys, score, raw_score, rag, churn_risk_level, churn_triggered_by, should_alert and every signal's points;
    with ``written=TEXT`` the levels are text and the SQL runs on Spark, too.
    """
    kept = _unique([*keys, *(name for name in (green, amber, churn_window_days) if name.isidentifier())])
    inputs = ("usage_trend", "login_frequency_days", "days_to_renewal", "tam_health_rag")
    given = "".join(f"{name}, " for name in kept)
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
        f"rated as (select {carried}, {points}, raw_score, score, {rag_sql('score', green, amber, written)} as rag "
        "from capped), "
        # The triggers stand as columns of their own: within the cases below they would be worked out once a branch.
        f"triggered as (select {given}{points}, raw_score, score, rag, "
        f"{contract_sql('rag', churn_window_days, written)} as contract, {behavioural_sql()} as behavioural "
        "from rated), "
        f"risked as (select {given}{points}, raw_score, score, rag, "
        f"{trigger_sql('contract', 'behavioural', written)} as churn_triggered_by, "
        f"{risk_sql('contract', 'behavioural', 'rag', written)} as churn_risk_level from triggered) "
        f"select {head}score, raw_score, rag, churn_risk_level, churn_triggered_by, "
        f"{alert_sql('rag', 'churn_risk_level', written)} as should_alert, {points} from risked"
    )


def refusal_sql(source: str, keys: Sequence[str]) -> str:
    """A SELECT of the rows of ``source`` outside the contract: keys, ``field`` (the first to offend) and ``value``."""
    cases = " ".join(f"when {offends_sql(field)} then {literal(field.name)}" for field in FIELDS)
    values = " ".join(f"when {literal(field.name)} then cast({field.name} as varchar)" for field in FIELDS)
    head = "".join(f"{key}, " for key in keys)
    inputs = ", ".join(field.name for field in FIELDS)
    return (
        f"with judged as (select {head}{inputs}, case {cases} end as field from {source}) "
        f"select {head}field, case field {values} end as value from judged where field is not null"
    )


def offends_sql(field: Field, names: Mapping[str, str] | None = None) -> str:
    """Whether an input is outside the contract: true or false, never null."""
    name = _name(field.name, names)
    if field.kind == "level":
        bad = f"{name} not in ({_listed(field.levels)})"
    else:
        # NaN compares greater than every number, so the upper bound catches it.
        bad = f"{name} < {_bound(field, field.least)} or {name} > {_bound(field, field.most)}"
    if field.nullable:
        return f"({name} is not null and ({bad}))"
    return f"({name} is null or {bad})"


def _by_triggers(contract: str, behavioural: str, outcome: Callable[[ChurnRule], str]) -> str:
    of = {(rule.contract, rule.behavioural): outcome(rule) for rule in CHURN_RULES}
    return (
        f"(case when {contract} then case when {behavioural} then {of[True, True]} else {of[True, False]} end "
        f"when {behavioural} then {of[False, True]} else {of[False, False]} end)"
    )


def _risk_of(rule: ChurnRule, rag: str, written: Written) -> str:
    *others, (_, last) = rule.risks
    cases = " ".join(
        f"when {rag} = {written.rag(level)} then {written.risk(risk)}" for level, risk in others if risk != last
    )
    return f"case {cases} else {written.risk(last)} end" if cases else written.risk(last)


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
