"""The part of a business review for the customer: results, usage against the period before, features and next steps.

It has no score, no band, and no comparison with other customers. Each statement comes from a column of the marts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from csm_core.schemas import UsageComparison
from csm_core.system.text_table import counted

JOINT_STEPS: dict[str, str] = {
    "feature_adoption_rate": "You choose features that are not in use; we hold a short training for each of them.",
    "usage_trend": "We ask your main users what they need next, and agree with them on one use case to build on.",
    "login_frequency_days": "You name who should use the product every week; we help them to get started.",
    "days_since_last_interaction": "We agree on a date for regular check-ins.",
    "support_sentiment": "We go through the recent support tickets together and agree on what to improve first.",
    "days_to_renewal": "We send you the terms and dates of the renewal in writing; you tell us what should change.",
    "seats_utilization_rate": "We compare your seats with the people who use the product, and adjust them if needed.",
    "stakeholder_engagement": "You invite the people whose goals depend on the product to the next review.",
    "nps_score": "We call the people who answered our survey, and tell you what we do about their answers.",
    "escalation_count_90_days": "We go through the escalated tickets together and agree on how to prevent more.",
}
"""What both sides do about each weak signal. Invoices are discussed with the finance team, not in a review."""

GOALS = "We agree on your goals for the next period."
# A change in percent says nothing about small numbers.
_LEAST_FOR_PERCENT = 10
# From this number of hours on, a duration is in days.
_HOURS_AS_DAYS = 48


@dataclass(frozen=True)
class Figure:
    """A figure of the period and of the period before; None: unknown. ``decimals`` are shown."""

    name: str
    now: float | None
    before: float | None
    decimals: int = 0
    unit: str = ""

    @property
    def is_shown(self) -> bool:
        """Whether there is anything to compare."""
        return bool(self.now or self.before)

    def text(self, value: float | None) -> str:
        """A value as text."""
        if value is None:
            return "–"
        return f"{value:,.{self.decimals}f} {self.unit}".rstrip()

    def change(self) -> str:
        """The change as text, in percent as well if the number before is large enough."""
        if self.now is None or self.before is None:
            return "–"
        difference = round(self.now, self.decimals) - round(self.before, self.decimals)
        if not difference:
            return "no change"
        percent = f" ({100 * difference / self.before:+.0f} %)" if self.before >= _LEAST_FOR_PERCENT else ""
        return f"{difference:+,.{self.decimals}f}{percent}"

    def sentence(self) -> str:
        """The value with the value before, in one text."""
        if self.before is None:
            return self.text(self.now)
        if self.now == self.before:
            return f"{self.text(self.now)} (previous period: the same)"
        return f"{self.text(self.now)} (previous period: {self.text(self.before)})"


def figures_of(row: Mapping[str, Any], configured: Sequence[Figure] = ()) -> list[Figure]:
    """The figures of a row of ``marts.csm_qbr``, without those that are zero in both periods."""
    known = is_compared(row)

    def before(column: str) -> Any:
        return row[column] if known else None

    # Events without a user id: zero active users does not mean zero usage.
    figures = [
        Figure("Active users", row["active_users"], before("active_users_previous")),
        Figure("Actions", row["events"], before("events_previous")),
        Figure("Features used", row["adopted_features"], before("adopted_features_previous")),
        *configured,
        Figure("Tickets solved", row["tickets_solved"], before("tickets_solved_previous")),
        Figure(
            "Median hours to solve a ticket",
            row["median_hours_to_solve"],
            row["median_hours_to_solve_previous"],
            decimals=1,
        ),
    ]
    return [figure for figure in figures if figure.is_shown]


def is_compared(row: Mapping[str, Any]) -> bool:
    """Whether anything is on record for the period before."""
    return any(row[f"{name}_previous"] for name in ("active_users", "events", "adopted_features", "tickets_solved"))


def comparison(figures: Sequence[Figure]) -> tuple[UsageComparison, ...]:
    """The rows of the table of a review."""
    return tuple(
        UsageComparison(
            metric=one.name, this_period=one.text(one.now), previous_period=one.text(one.before), change=one.change()
        )
        for one in figures
    )


def summary_of(row: Mapping[str, Any]) -> str:
    """The results of the period in a few sentences."""
    period = f"From {_period(row)}"
    if row["events"]:
        users = (
            f"{counted(row['active_users'], 'person', 'people')} in your team" if row["active_users"] else "your team"
        )
        features = f" in {counted(row['adopted_features'], 'feature')}" if row["adopted_features"] else ""
        sentences = [f"{period}, {users} used the product for {counted(row['events'], 'action')}{features}."]
        sentences += _trend(row)
    else:
        sentences = [f"{period}, no use of the product is on record."]
    if row["tickets_solved"]:
        sentences.append(_tickets(row))
    if row["trigger"] == "contract_proximity" and row["renewal_date"] is not None:
        sentences.append(f"Your contract renews on {day_text(row['renewal_date'])}.")
    return " ".join(sentences)


def _trend(row: Mapping[str, Any]) -> list[str]:
    now, before = row["events"], row["events_previous"]
    if not is_compared(row):
        return ["There are no records of the period before to compare with."]
    if before < _LEAST_FOR_PERCENT:
        return []
    percent = round(100 * (now - before) / before)
    if not percent:
        return ["That is as much as in the period before."]
    return [f"That is {abs(percent):,} % {'more' if percent > 0 else 'less'} than in the period before."]


def _tickets(row: Mapping[str, Any]) -> str:
    solved, hours = row["tickets_solved"], row["median_hours_to_solve"]
    if hours is None:
        return f"We solved {counted(solved, 'support ticket')}."
    time = f"{hours / 24:.1f} days" if hours >= _HOURS_AS_DAYS else f"{hours:.1f} hours"
    if solved == 1:
        return f"We solved 1 support ticket, after {time}."
    return f"We solved {solved:,} support tickets, half of them within {time}."


def overview_of(row: Mapping[str, Any]) -> dict[str, str]:
    """The facts below the summary: period, subscription, renewal, open topics."""
    facts = {"Period": _period(row)}
    if row["plan"]:
        facts["Plan"] = row["plan"]
    if row["mrr"]:
        facts["Subscription"] = f"{row['mrr']:,.2f} {row['currency'] or ''}".rstrip() + " per month"
    if row["renewal_date"] is not None and row["renewal_date"] >= row["as_of_date"]:
        facts["Renewal"] = day_text(row["renewal_date"])
    facts["Open support tickets"] = _open_tickets(row)
    return {name: text for name, text in facts.items() if text}


def _open_tickets(row: Mapping[str, Any]) -> str:
    count, days = row["open_tickets"], row["oldest_open_days"]
    if not count:
        return "none" if count == 0 else ""
    if days is None:
        return f"{count:,}"
    age = f"for {counted(days, 'day')}" if days else "since today"
    return f"1, open {age}" if count == 1 else f"{count:,}, the oldest open {age}"


def scorecard_of(entries: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """What is used and how much, and what is available and not used yet, by the display names of the features."""
    scorecard: dict[str, dict[str, str]] = {}
    for entry in entries:
        name = feature_name(entry)
        scorecard[f"{name} ({entry['feature']})" if name in scorecard else name] = _use(entry)
    return scorecard


def feature_name(entry: Mapping[str, Any]) -> str:
    """The display name of a feature; days that were built before the column was added have none."""
    return entry["display_name"] or entry["feature"]


def _use(entry: Mapping[str, Any]) -> dict[str, str]:
    window = "recently" if entry["window_days"] is None else f"in the last {entry['window_days']} days"
    if not entry["adopted"]:
        return {"available": f"in your plan, not used {window}"}
    count, events = entry["users_in_window"], entry["events_in_window"]
    users = f" by {counted(count, 'person', 'people')}" if count else ""
    times = {1: "once", 2: "twice"}.get(events, f"{events:,} times")
    return {"used": f"{times}{users} {window}"}


def joint_steps(weak: Sequence[str], without_data: Collection[str], setups: Sequence[str]) -> list[str]:
    """The next steps together: the setup of integrations, then a step for each weak signal that has data."""
    steps = [f"You tell us when {name} should be set up; it is part of your plan, and we help." for name in setups]
    steps += [JOINT_STEPS[signal] for signal in weak if signal in JOINT_STEPS and signal not in without_data]
    return steps or [GOALS]


def _period(row: Mapping[str, Any]) -> str:
    first, last = row["period_start"], row["period_end"]
    start = f"{first.day} {first:%B}" if first.year == last.year else day_text(first)
    return f"{start} to {day_text(last)}"


def day_text(day: date) -> str:
    """A date in words, such as 1 April 2026."""
    return f"{day.day} {day:%B %Y}"
