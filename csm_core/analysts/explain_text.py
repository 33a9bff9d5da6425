"""Formats the report of ``csm explain``: tables of a score, its change and the moves to another band."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from csm_core.analysts.account_facts import AccountFacts
from csm_core.analysts.explain import SUPPORTING, BandMoves, Cents, Change, Explanation, Part, cents
from csm_core.analysts.explain_account import ExplainReport
from csm_core.display_names import TRIGGERS, UNITS, input_name, level_name
from csm_core.schemas import CSMHealthScore, CSMHealthSignals
from csm_core.system.terminal import printable
from csm_core.system.text_table import counted, text_table
from csm_core.thresholds import Thresholds


def report_text(report: ExplainReport) -> str:
    """The report: the account, points and weights, the moves to another band, and the change since another day."""
    day, score = report.day, report.day.explanation.score
    lines = [
        f"account {day.account_id} (tenant {day.tenant_id}) on {day.as_of_date}: "
        f"{score.score:.2f} {score.rag}, churn risk {risk_text(score)}",
        *([known_text(report)] if report.known_at else []),
        *([facts_text(report.facts)] if report.facts else []),
        "",
        *explanation_lines(day.explanation, day.missing_signals, report.signal_facts),
        policy_text(day.policy),
    ]
    if day.missing_signals:
        lines.append(f"signal coverage {day.signal_coverage:.0%}")
    if not day.follows_the_rubric:
        lines.append("note: another version of the rubric scored this day; run the day again to compare")
    lines += ["", *move_lines(report.moves)]
    if report.change and report.since:
        lines += ["", f"since {report.since.as_of_date}:", *change_lines(report.change)]
        if report.since.config_hash != day.config_hash:
            lines.append("the two days were scored with different configurations")
    if report.record and report.record_change:
        lines += ["", record_line(report.record, report.record_change)]
    return "\n".join(lines)


def record_line(day: date, change: Change) -> str:
    """The change of the score since the health record of a day, and the two signals whose points changed most."""
    before, after = Cents.of(change.before), Cents.of(change.after)
    differences = {name: after.parts[name] - before.parts[name] for name in after.parts}
    moved = sorted((name for name in differences if differences[name]), key=lambda name: -abs(differences[name]))
    listed = ", ".join(f"{input_name(name)} {differences[name]:+}" for name in moved[:2])
    return (
        f"since the health record of {day}: score {before.score} {change.before.score.rag} → "
        f"{after.score} {change.after.score.rag} ({after.score - before.score:+})"
        + (f", mostly {listed}" if listed else "")
    )


def known_text(report: ExplainReport) -> str:
    """The time that the report is about, and the times between which its row was known."""
    day = report.day
    until = f"until {day.known_to} UTC, when a later run revised it" if day.known_to else "and not revised since"
    return f"as known at {report.known_at} UTC: known from {day.known_from} UTC {until}"


def facts_text(facts: AccountFacts) -> str:
    """The name of the account, its owner and segment, what it pays and when it renews, in one line."""
    mrr = "unknown" if facts.mrr is None else f"{facts.mrr:,.2f} {facts.currency or '(currency unknown)'}"
    parts = [
        printable(facts.account_name, 80),
        f"owner {printable(facts.csm_owner or 'unassigned')}",
        f"segment {printable(facts.segment or 'unknown')}",
        f"MRR {mrr}",
        f"renewal date {facts.renewal_date or 'unknown'}",
    ]
    return " · ".join(parts)


def explanation_lines(
    explanation: Explanation, missing: Sequence[str] = (), facts: Mapping[str, str] | None = None
) -> list[str]:
    """A table of the points, the weight and the fact of each signal; ``missing`` signals had no data."""
    rounded = Cents.of(explanation)
    rows = [("signal", "value", "points", "of", "")]
    for part in explanation.parts:
        fact = "no data" if part.signal in missing else printable((facts or {}).get(part.signal, ""))
        rows.append(
            (
                input_name(part.signal),
                _value_text(part, explanation.signals),
                f"{rounded.parts[part.signal]}",
                f"{part.weight}",
                fact,
            )
        )
    rows.append(("raw score", "", f"{rounded.raw_score}", "100", ""))
    if explanation.cap:
        rows.append(("cap (TAM)", str(explanation.signals.tam_health_rag), f"{rounded.cap:+}", "", ""))
    rows.append(("score", "", f"{rounded.score}", "100", explanation.score.rag))
    return text_table(rows, right={2, 3})


def change_lines(change: Change) -> list[str]:
    """A table in hundredths that add up as printed, and a line with signals that changed but not their points."""
    before, after = Cents.of(change.before), Cents.of(change.after)
    rows = [("", "before", "after", "change")]
    rows.append(("score", f"{before.score}", f"{after.score}", f"{after.score - before.score:+}"))
    idle: list[str] = []
    for earlier, later in zip(change.before.parts, change.after.parts, strict=True):
        difference = after.parts[later.signal] - before.parts[earlier.signal]
        values = (_value_text(earlier, change.before.signals), _value_text(later, change.after.signals))
        if difference:
            rows.append((f"  {input_name(earlier.signal)}", *values, f"{difference:+}"))
        elif values[0] != values[1]:
            idle.append(f"{input_name(earlier.signal)} {values[0]} → {values[1]}")
    cap = after.cap - before.cap
    tams = (change.before.signals.tam_health_rag, change.after.signals.tam_health_rag)
    if cap or tams[0] != tams[1]:
        rows.append(("  cap (TAM)", tams[0] or "none", tams[1] or "none", f"{cap:+}"))
    lines = text_table(rows, right={1, 2, 3})
    if idle:
        lines.append(f"changed without effect on points: {'; '.join(idle)}")
    return [*lines, *_band_lines(change)]


def move_lines(moves: BandMoves) -> list[str]:
    """One line for each input that reaches the band alone."""
    if not moves.moves:
        verb = f"reach {moves.target}" if moves.up else f"fall to {moves.target}"
        return [f"no change of a single input would {verb}"]
    title = f"to reach {moves.target}, any one of:" if moves.up else f"to fall to {moves.target}, any one of:"
    rows = [
        (
            f"  {input_name(move.field)}",
            _plain(move.field, move.value),
            "→",
            _plain(move.field, move.to, up=moves.up),
            f"score {cents(move.score)}",
        )
        for move in moves.moves
    ]
    return [title, *text_table(rows)]


def policy_text(policy: Thresholds) -> str:
    """The lower limits of the bands and the churn window."""
    return (
        f"GREEN from {policy.green_threshold:g}, AMBER from {policy.amber_threshold:g}, "
        f"churn window {counted(policy.churn_window_days, 'day')}"
    )


def risk_text(score: CSMHealthScore) -> str:
    """The churn risk, its trigger, and ``alert`` if the account should alert."""
    trigger = f" ({TRIGGERS[score.churn_triggered_by]})" if score.churn_triggered_by else ""
    return f"{score.churn_risk_level}{trigger}{', alert' if score.should_alert else ''}"


def _band_lines(change: Change) -> Iterator[str]:
    earlier, later = change.before.score.rag, change.after.score.rag
    if change.policy_before != change.policy_after:
        yield f"policy: {policy_text(change.policy_before)} before, {policy_text(change.policy_after)} after"
    if earlier != later:
        yield f"{earlier} became {later}, because of the {' and the '.join(change.rag_moved_by) or 'score'}"
    elif change.rag_moved_by:
        yield f"{later} as before: the changes of score and policy cancel out"
    risks = (risk_text(change.before.score), risk_text(change.after.score))
    if risks[0] != risks[1]:
        yield f"churn risk {risks[0]} became {risks[1]}"


def _value_text(part: Part, signals: CSMHealthSignals) -> str:
    text = _plain(part.signal, part.value)
    for field, signal in SUPPORTING.items():
        if signal == part.signal:
            text += f", {getattr(signals, field)} open"
    return text


def _plain(name: str, value: Any, *, up: bool | None = None) -> str:
    """The value of an input as text."""
    if value is None:
        return "unknown"
    if isinstance(value, float):
        # A target value is rounded away from the current value, so that the printed value is sufficient.
        return f"{value:.4g}" if up is None else _outward(value, up)
    return counted(value, UNITS[name]) if name in UNITS else level_name(name, str(value))


def _outward(value: float, up: bool) -> str:
    scaled = value * 10_000
    return f"{(math.ceil(scaled) if up else math.floor(scaled)) / 10_000:.4g}"
