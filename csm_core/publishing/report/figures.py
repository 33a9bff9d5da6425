"""A figure of a report: a query on the published copy, its result, and how the result is named and drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import cached_property
from typing import Any

import duckdb

from csm_core.display_names import SIGNALS, TRIGGERS
from csm_core.errors import InputError
from csm_core.system.config_sections import CheckSettings
from csm_core.warehouse.models import literal

Rows = Sequence[Mapping[str, Any]]
NO_OWNER = "(no owner)"
ACCOUNTS_BY_BAND = """count(*) filter (where rag = 'GREEN') as green,
    count(*) filter (where rag = 'AMBER') as amber,
    count(*) filter (where rag = 'RED') as red"""

_LABELS = {
    "account_id": "Account",
    "account_name": "Name",
    "as_of_date": "Day",
    "csm_owner": "Owner",
    "mrr": "MRR",
    "mrr_before": "MRR before",
    "mrr_reporting": "MRR, converted",
    "nps_score": "NPS",
    "pulse_age_days": "Age of the pulse, days",
    "pulse_note": "Note",
    "rag": "Band",
    "rag_before": "Band before",
    "rag_start": "Band at the start",
    "rag_end": "Band at the end",
    "score_change": "Change",
    "signal_1": "First signal",
    "change_1": "Points",
    "signal_2": "Second signal",
    "change_2": "Points",
    "estimated_arr_impact": "Estimated ARR",
    "invoice_id": "Invoice",
    "is_silent": "Silent",
    "limit_days": "Limit, days",
    "ticket_id": "Ticket",
    "mrr_start": "MRR at the start",
    "mrr_end": "MRR at the end",
    "green": "GREEN",
    "amber": "AMBER",
    "red": "RED",
}
_SHARES = ("_retention", "_rate", "share", "coverage")
_MAX_TEXT = 240
_CHANGES = ("change", "score_change", "change_1", "change_2", "points_change")


@dataclass(frozen=True)
class Drawing:
    """A drawn chart and the sentence that describes it to people who do not see it."""

    svg: bytes
    description: str


@dataclass(frozen=True)
class Chart:
    """The chart of a figure as an SVG element of the page, and the digest of what it was drawn from."""

    svg: str
    drawn_from: str


@dataclass(frozen=True)
class Figure:
    """A figure of a report.

    ``note`` defines the numbers. The table shows the first ``shown`` rows, without the columns in ``undisplayed``,
    which only the chart needs; a table with ``folded`` is closed at first. ``draw`` returns the chart of the rows, None
    if there is nothing to draw. ``empty`` is the text without rows.
    """

    key: str
    title: str
    note: str
    sql: str
    draw: Callable[[Rows], Drawing | None] | None = None
    shown: int = 20
    folded: bool = False
    undisplayed: tuple[str, ...] = ()
    empty: str = "None."


@dataclass(frozen=True)
class Result:
    """A figure with the rows of its query, in columns that have a label and cells as text."""

    figure: Figure
    columns: tuple[str, ...]
    rows: Rows
    chart: Chart | None = None

    @cached_property
    def labels(self) -> list[str]:
        """The labels of the columns."""
        return [label_of(column) for column in self.columns]

    @cached_property
    def cells(self) -> list[list[str]]:
        """The shown rows as text."""
        return [[shown_value(column, row[column]) for column in self.columns] for row in self.rows[: self.figure.shown]]

    @cached_property
    def numeric(self) -> list[bool]:
        """Whether each column has numbers, which are aligned to the right."""
        return [
            any(
                isinstance(row[column], (int, float, Decimal)) and not isinstance(row[column], bool)
                for row in self.rows
            )
            for column in self.columns
        ]

    @cached_property
    def dated(self) -> list[bool]:
        """Whether each column has dates, which need no isolation from the text around them."""
        return [any(isinstance(row[column], date) for row in self.rows) for column in self.columns]

    @property
    def remaining(self) -> int:
        """The number of rows that the table does not show."""
        return max(0, len(self.rows) - self.figure.shown)


def label_of(column: str) -> str:
    """The label of a column: its own, or its name as words."""
    words = column.replace("_", " ")
    return _LABELS.get(column, words[:1].upper() + words[1:])


def shown_value(column: str, value: Any) -> str:
    """A value as text: signals, triggers and rules in words, shares in percent, points with one decimal."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(shown_value(column, one) for one in value)
    if isinstance(value, Decimal):
        return f"{value:,.2f}"
    if isinstance(value, float):
        if column.endswith(_SHARES):
            return f"{value:.1%}"
        return f"{value:+.1f}" if column in _CHANGES else f"{value:,.1f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, date):
        return value.isoformat()
    if column.startswith(("signal", "churn_")):
        return SIGNALS.get(value) or TRIGGERS.get(value, str(value))
    text = str(value).replace("_", " ") if column == "rule" else str(value)
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 1]}…"


@dataclass(frozen=True)
class Scope:
    """What a portfolio report covers: a day, and optionally one owner or one segment.

    ``reporting_currency`` is None without rates. ``silence_limits`` are those of ``CheckSettings``.
    """

    day: date
    owner: str | None = None
    segment: str | None = None
    reporting_currency: str | None = None
    silence_limits: Mapping[str, int | None] = field(default_factory=lambda: CheckSettings().silence_limits)

    @property
    def on_day(self) -> str:
        """The day as a SQL literal."""
        return day_sql(self.day)

    @property
    def accounts(self) -> str:
        """The scored accounts of the scope on its day, as a common table expression named ``accounts``."""
        return f"""accounts as (
    select
        scores.tenant_id,
        scores.account_id,
        account_days.account_name,
        coalesce(account_days.csm_owner, {literal(NO_OWNER)}) as csm_owner,
        coalesce(account_days.segment, 'unsegmented') as segment,
        account_days.mrr,
        account_days.currency,
        account_days.mrr_reporting,
        account_days.renewal_date,
        scores.score,
        scores.rag,
        scores.churn_risk_level,
        scores.should_alert
    from csm_health_scores as scores
    inner join csm_accounts_daily as account_days
        on
            scores.account_id = account_days.account_id
            and scores.as_of_date = account_days.as_of_date
    where scores.as_of_date = {self.on_day}{self.conditions("account_days")}
)"""

    @property
    def sums_of_mrr(self) -> str:
        """The columns with sums of MRR: in the accounts' currencies, and converted if there are rates."""
        converted = ",\n    sum(mrr_reporting) as mrr_reporting" if self.reporting_currency else ""
        return f"sum(mrr) as mrr{converted}"

    def conditions(self, table: str) -> str:
        """The conditions on owner and segment, each after ``and``; empty text without any."""
        parts = {"csm_owner": self.owner, "segment": self.segment}
        empty = {"csm_owner": NO_OWNER, "segment": "unsegmented"}
        return "".join(
            f" and coalesce({table}.{column}, {literal(empty[column])}) = {literal(value)}"
            for column, value in parts.items()
            if value is not None
        )


def day_sql(day: date) -> str:
    """A day as a SQL literal."""
    return f"date '{day}'"


def require_known(connection: duckdb.DuckDBPyConnection, scope: Scope) -> None:
    """Raise InputError, with the known values, if no account of the day has the owner or the segment of the scope."""
    for column, value, plural in (("csm_owner", scope.owner, "owners"), ("segment", scope.segment, "segments")):
        if value is None:
            continue
        known = [
            str(name)
            for (name,) in connection.execute(
                f"with {Scope(scope.day).accounts} select distinct {column} from accounts order by 1"
            ).fetchall()
        ]
        if value not in known:
            some = ", ".join(known[:10]) + (f" and {len(known) - 10} more" if len(known) > 10 else "")
            message = f"no account has the {plural[:-1]} {value!r} on {scope.day}; the {plural} are {some}"
            raise InputError(message)
