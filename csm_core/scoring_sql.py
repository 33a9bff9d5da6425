"""The rubric as SQL expressions: the one place where points, score, RAG and churn risk are written for the warehouse.

Every expression is plain SQL on column names (or on any expressions given for them), stays within what Spark reads the
same, and computes in IEEE double with a single rounding, as the scalar scorer does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
    Bands,
    ChurnRule,
    Field,
    Levels,
    Rate,
    Signal,
)
from csm_core.sql_models import literal

RESULT_COLUMNS = ("score", "raw_score", "rag", "churn_risk_level", "churn_triggered_by", "should_alert")
POINT_COLUMNS = tuple(f"{signal.name}_points" for signal in RUBRIC)


def double(number: float) -> str:
    """A number as a double: a bare decimal literal would make the arithmetic decimal."""
    return f"cast({number!r} as double)"


def points_sql(signal: Signal, names: Mapping[str, str] | None = None) -> str:
    """The points of a signal, a whole number but for the rate; ``names`` maps inputs to expressions."""
    value = _name(signal.name, names)
    match signal.rule:
        case Rate():
            return f"({double(float(signal.weight))} * {value})"
        case Levels(points):
            cases = " ".join(f"when {literal(level)} then {given}" for level, given in points)
            given = f"case {value} {cases} end"
        case Bands(bands, otherwise, null):
            cases = f"when {value} is null then {null} " if null is not None else ""
            cases += " ".join(
                f"when {value} {band.compare} {_edge(signal, band.edge)} then {band.points}" for band in bands
            )
            given = f"case {cases} else {otherwise} end"
    if signal.deduction:
        taken = f"least({_name(signal.deduction.field, names)}, {signal.deduction.most})"
        given = f"greatest({given} - {taken}, 0)"
    return f"({given})"


def raw_score_sql(points: Mapping[str, str]) -> str:
    """The raw score from the points of every signal: the rate's, plus the whole points summed as an integer."""
    rated = [points[signal.name] for signal in RUBRIC if isinstance(signal.rule, Rate)]
    whole = [points[signal.name] for signal in RUBRIC if not isinstance(signal.rule, Rate)]
    return f"({' + '.join(rated)} + cast({' + '.join(whole)} as double))"


def score_sql(raw_score: str, tam_health_rag: str) -> str:
    """The score after the technical-account cap; times 1 is the same bits."""
    cases = " ".join(f"when {literal(level)} then {double(factor)}" for level, factor in TAM_CAPS)
    return f"({raw_score} * case {tam_health_rag} {cases} else {double(1.0)} end)"


def rag_sql(score: str, green: str, amber: str) -> str:
    """GREEN from the green threshold, AMBER from the amber one, RED below."""
    best, middle, worst = (literal(rag) for rag in RAGS)
    return f"(case when {score} >= {green} then {best} when {score} >= {amber} then {middle} else {worst} end)"


def trigger_sql(rag: str, window: str, names: Mapping[str, str] | None = None) -> str:
    """Which churn triggers hold: ``both``, ``contract_proximity``, ``behavioral``, or null."""
    days, logins = _name("days_to_renewal", names), _name("login_frequency_days", names)
    holds = {
        "contract": f"({rag} in ({_listed(CONTRACT_RAGS)}) and {days} is not null and {days} <= {window})",
        "behavioural": (
            f"({_name('usage_trend', names)} in ({_listed(BEHAVIOURAL_TRENDS)}) "
            f"and ({logins} is null or {logins} > {BEHAVIOURAL_LOGIN_DAYS}))"
        ),
    }
    # The rules stand with both triggers first and none last, so the first that is met is the right one.
    cases = " ".join(
        f"when {' and '.join(condition for name, condition in holds.items() if getattr(rule, name))} "
        f"then {literal(rule.called)}"
        for rule in CHURN_RULES
        if rule.called
    )
    return f"(case {cases} end)"


def risk_sql(trigger: str, rag: str) -> str:
    """The churn risk of a trigger at a RAG."""
    cases = " ".join(
        f"when {trigger} = {literal(rule.called)} then {_risk_of(rule, rag)}" for rule in CHURN_RULES if rule.called
    )
    (otherwise,) = (_risk_of(rule, rag) for rule in CHURN_RULES if not rule.called)
    return f"(case {cases} else {otherwise} end)"


def alert_sql(rag: str, risk: str) -> str:
    """Whether someone should be told."""
    return f"({rag} in ({_listed(ALERT_RAGS)}) or {risk} in ({_listed(ALERT_RISKS)}))"


def scoring_sql(source: str, *, green: str, amber: str, churn_window_days: str, keys: Sequence[str]) -> str:
    """A SELECT that scores every row of ``source`` (a relation or a sub-select in parentheses) in one pass.

    ``green``, ``amber`` and ``churn_window_days`` are expressions over the row, ``keys`` the columns passed through.
    Gives keys, score, raw_score, rag, churn_risk_level, churn_triggered_by, should_alert and every signal's points.
    """
    kept = _unique([*keys, *(name for name in (green, amber, churn_window_days) if name.isidentifier())])
    inputs = ("usage_trend", "login_frequency_days", "days_to_renewal", "tam_health_rag")
    pointed = ", ".join(f"{points_sql(signal)} as {signal.name}_points" for signal in RUBRIC)
    carried = ", ".join(_unique([*kept, *inputs]))
    names = {signal.name: f"{signal.name}_points" for signal in RUBRIC}
    points = ", ".join(POINT_COLUMNS)
    out = ", ".join(f"cast({name} as double) as {name}" for name in POINT_COLUMNS)
    head = f"{', '.join(keys)}, " if keys else ""
    return (
        f"with pointed as (select {carried}, {pointed} from {source}), "
        f"summed as (select {carried}, {points}, {raw_score_sql(names)} as raw_score from pointed), "
        f"capped as (select {carried}, {points}, raw_score, {score_sql('raw_score', 'tam_health_rag')} as score "
        "from summed), "
        f"rated as (select {carried}, {points}, raw_score, score, {rag_sql('score', green, amber)} as rag "
        "from capped), "
        f"triggered as (select {carried}, {points}, raw_score, score, rag, {trigger_sql('rag', churn_window_days)} "
        "as churn_triggered_by from rated), "
        f"risked as (select {', '.join(kept)}{', ' if kept else ''}{points}, raw_score, score, rag, "
        "churn_triggered_by, "
        f"{risk_sql('churn_triggered_by', 'rag')} as churn_risk_level from triggered) "
        f"select {head}score, raw_score, rag, churn_risk_level, churn_triggered_by, "
        f"{alert_sql('rag', 'churn_risk_level')} as should_alert, {out} from risked"
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


def _risk_of(rule: ChurnRule, rag: str) -> str:
    *others, (_, last) = rule.risks
    cases = " ".join(f"when {rag} = {literal(level)} then {literal(risk)}" for level, risk in others if risk != last)
    return f"case {cases} else {literal(last)} end" if cases else literal(last)


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
