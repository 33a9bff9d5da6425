"""The charts of a report, drawn from the rows of a figure's query."""

from __future__ import annotations

from collections.abc import Callable

from csm_core.analysts import drawing
from csm_core.display_names import input_name
from csm_core.publishing.report.figures import Drawing, Rows
from csm_core.system.text_table import counted

_GROUPS = 15


def bands_over_time(rows: Rows) -> Drawing | None:
    """Accounts of each band over time."""
    counts = {band: [int(row[band.lower()]) for row in rows] for band in drawing.BANDS}
    first, last = rows[0], rows[-1]
    described = ", ".join(f"{band} from {first[band.lower()]} to {last[band.lower()]}" for band in drawing.BANDS)
    return Drawing(
        drawing.bands_over_time([row["as_of_date"] for row in rows], counts),
        f"Accounts by band from {first['as_of_date']} to {last['as_of_date']}: {described}.",
    )


def bands_by(column: str) -> Callable[[Rows], Drawing | None]:
    """Accounts by band of each owner or segment."""

    def draw(rows: Rows) -> Drawing:
        some = rows[:_GROUPS]
        counts = {band: [int(row[band.lower()]) for row in some] for band in drawing.BANDS}
        more = f"; {len(rows) - len(some)} more are in the table" if len(rows) > len(some) else ""
        return Drawing(
            drawing.band_rows([str(row[column]) for row in some], counts),
            f"Accounts by band, one bar for each of {len(some)}, those with the most RED accounts first{more}.",
        )

    return draw


def revenue_by_month(reporting_currency: str | None) -> Callable[[Rows], Drawing | None]:
    """MRR at risk per month: converted, or in the currency with the most accounts."""

    def draw(rows: Rows) -> Drawing | None:
        accounts: dict[str, int] = {}
        for row in rows:
            accounts[row["currency"]] = accounts.get(row["currency"], 0) + row["accounts"]
        currency = reporting_currency or min(accounts, key=lambda one: (-accounts[one], str(one)))
        column = "mrr_reporting" if reporting_currency else "mrr"
        months: dict[str, float] = {}
        for row in rows:
            if (reporting_currency or row["currency"] == currency) and row[column] is not None:
                months[row["renewal_month"]] = months.get(row["renewal_month"], 0.0) + float(row[column])
        if not months:
            return None
        highest = max(months, key=lambda month: months[month])
        others = "" if reporting_currency or len(accounts) == 1 else " Other currencies are in the table."
        return Drawing(
            drawing.bars(list(months), list(months.values()), f"MRR, {currency or 'unknown currency'}"),
            f"MRR at risk in {currency or 'an unknown currency'} by renewal month; "
            f"the most, {months[highest]:,.0f}, is in {highest}.{others}",
        )

    return draw


def retention(rows: Rows) -> Drawing | None:
    """Gross and net revenue retention over the longest window, in the currency with the most accounts."""
    window = max(row["window_months"] for row in rows)
    accounts: dict[str, int] = {}
    for row in rows:
        accounts[row["currency"]] = accounts.get(row["currency"], 0) + row["accounts_start"]
    currency = min(accounts, key=lambda one: (-accounts[one], str(one)))
    some = [row for row in reversed(rows) if row["window_months"] == window and row["currency"] == currency]
    if len(some) < 2:
        return None
    return Drawing(
        drawing.lines(
            [row["month"] for row in some],
            {
                "net": [row["net_revenue_retention"] for row in some],
                "gross": [row["gross_revenue_retention"] for row in some],
            },
            percent=True,
        ),
        f"Revenue retention over {counted(window, 'month')} in {currency or 'an unknown currency'} by month; in "
        f"{some[-1]['month']:%Y-%m} net {some[-1]['net_revenue_retention']:.1%}, "
        f"gross {some[-1]['gross_revenue_retention']:.1%}.",
    )


def score_over_time(rows: Rows) -> Drawing | None:
    """The score of an account, with the thresholds of its newest day."""
    last = rows[-1]
    levels = {
        f"GREEN from {last['green_threshold']:g}": last["green_threshold"],
        f"AMBER from {last['amber_threshold']:g}": last["amber_threshold"],
    }
    return Drawing(
        drawing.lines(
            [row["as_of_date"] for row in rows],
            {"score": [row["score"] for row in rows]},
            limits=(0, 100),
            levels=levels,
        ),
        f"Score from {rows[0]['as_of_date']} ({rows[0]['score']:.1f}) to {last['as_of_date']} ({last['score']:.1f}), "
        f"lowest {min(row['score'] for row in rows):.1f}, highest {max(row['score'] for row in rows):.1f}.",
    )


def points_of_weights(rows: Rows) -> Drawing | None:
    """The points of each signal against its weight."""
    return Drawing(
        drawing.points_of_weights(
            [input_name(row["signal"]) for row in rows],
            [row["points"] for row in rows],
            [row["weight"] for row in rows],
        ),
        "Points of each signal in front of its weight; the table has the numbers.",
    )


def events_over_time(rows: Rows) -> Drawing | None:
    """The events of an account by week: all features, and the feature with the most."""
    weeks: dict[object, int] = {}
    for row in rows:
        weeks[row["as_of_date"]] = weeks.get(row["as_of_date"], 0) + row["events_in_window"]
    if len(weeks) < 2:
        return None
    days = sorted(weeks, key=str)
    return Drawing(
        drawing.lines(days, {"events": [weeks[day] for day in days]}),  # pyright: ignore[reportArgumentType]
        f"Events of all features by week, from {weeks[days[0]]:,} to {weeks[days[-1]]:,}.",
    )


def revenue_over_time(rows: Rows) -> Drawing | None:
    """The MRR of an account at the end of each month."""
    some = [row for row in reversed(rows) if row["mrr"] is not None]
    if len(some) < 2:
        return None
    return Drawing(
        drawing.bars(
            [f"{row['as_of_date']:%Y-%m}" for row in some],
            [float(row["mrr"]) for row in some],
            f"MRR, {some[-1]['currency'] or 'unknown currency'}",
        ),
        f"MRR from {some[0]['mrr']:,.2f} to {some[-1]['mrr']:,.2f} {some[-1]['currency'] or ''}".strip() + ".",
    )
