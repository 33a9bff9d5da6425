"""The report of a backtest as sections with sentences and tables, for the console and for HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from csm_core.analysts.backtest.advice import Advice
from csm_core.analysts.backtest.churn_rates import ChurnRate
from csm_core.analysts.backtest.figures import BacktestFigures, MeasureAuc
from csm_core.analysts.backtest.intervals import Interval
from csm_core.analysts.backtest.observations import BacktestInput, GreenChurn, LeadTime
from csm_core.analysts.backtest.pulse_coverage import PULSE, SCORE_WITH_PULSE
from csm_core.display_names import input_name
from csm_core.system.terminal import printable
from csm_core.system.text_table import counted

BASES = {
    "as_known": "Scores as they were known in time (basis as_known).",
    "reconstructed": "Reconstructed scores, which were not known in time (basis reconstructed).",
    "all": "Scores as known in time and reconstructed ones (basis all).",
}
BASELINES = {
    "days_to_renewal": "time to renewal alone",
    "usage_trend": "usage trend alone",
    "invoice_payment_status": "invoice payments alone",
    "mrr_change_90d": "MRR change in 90 days alone",
    "score_without_renewal_and_payment": "score without renewal and payments",
    PULSE: "pulse of the owner alone",
    SCORE_WITH_PULSE: "score where there is a pulse",
}


@dataclass(frozen=True)
class Section:
    """A part of the report.

    :ivar title: its heading.
    :ivar sentences: shown above the table.
    :ivar rows: the table with its header; empty without a table. Cells are cleaned.
    :ivar right: the positions of the columns with numbers.
    :ivar code: lines to copy, below the table.
    """

    title: str
    sentences: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    right: frozenset[int] = frozenset()
    code: str = ""


def basis_text(given: BacktestInput) -> str:
    """Return which scores were used, as a sentence."""
    return BASES.get(given.basis, f"Basis {given.basis}.")


def auc_names(figures: BacktestFigures) -> list[tuple[str, MeasureAuc]]:
    """Return the measures with an AUC, with their display names: the score, then the baselines, then the signals."""
    if not figures.auc:
        return []
    return [
        ("score", figures.auc),
        *((BASELINES.get(one.name, one.name), one) for one in figures.baselines),
        *((f"signal: {input_name(one.name)}", one) for one in figures.signals),
    ]


def sections(figures: BacktestFigures) -> list[Section]:
    """Return the parts of the report, the most important first."""
    parts = [_observed(figures)]
    if figures.auc:
        parts.append(_auc(figures, figures.auc))
    if figures.lifts:
        parts.append(_lift(figures))
    parts += [
        _rates("Bands", "band", figures.bands, ordered=figures.bands_ordered),
        _rates("Churn risk", "churn risk", figures.risk_levels, ordered=figures.risk_levels_ordered),
        _alerts(figures),
        _lead_time(figures),
        *([] if figures.enough_churned_accounts else [_churned(figures.given.lead_times)]),
        _green_churn(figures.green_churn),
        _calibration(figures),
    ]
    if figures.advice:
        parts.append(_advice(figures.advice))
    return parts


def _observed(figures: BacktestFigures) -> Section:
    given = figures.given
    dates = len(given.observations.dates)
    period = (
        f"churned: left within {counted(given.horizon_days, 'day')} after the observation"
        if not given.lead_days
        else f"churned: left within {counted(given.horizon_days, 'day')}, after a lead of "
        f"{counted(given.lead_days, 'day')}"
    )
    return Section(
        "Observations",
        (
            f"{counted(len(given.observations.day), 'observation')} of {counted(figures.accounts, 'account')} on "
            f"{counted(dates, 'date')}, {given.first_date} to {given.last_date}, every {printable(given.every)}.",
            f"{counted(figures.churned_observations, 'observation')} of "
            f"{counted(figures.churned_accounts, 'account')} churned ({period}).",
            f"Left out: {given.dead_zone:,} that left within the lead (dead zone), {given.censored:,} whose outcome "
            "is not known yet (censored).",
        ),
    )


def _auc(figures: BacktestFigures, auc: MeasureAuc) -> Section:
    rows = [("measure", "AUC", "95 % interval", "")]
    rows += [_auc_cells(name, one) for name, one in auc_names(figures)]
    return Section(
        "AUC within date",
        (
            "How often, of a churned and a stayed account on the same date, the churned one had the lower value.",
            f"0.5 is chance, 1 is perfect. The score has {counted(auc.pairs, 'pair')}; intervals are from resampled "
            "accounts.",
            figures.pulse_coverage.text,
        ),
        tuple(rows),
        frozenset({1}),
    )


def _auc_cells(name: str, one: MeasureAuc) -> tuple[str, str, str, str]:
    if one.auc is None:
        return printable(name), "-", "-", "no pairs with known values"
    remark = ""
    if one.no_better_than_chance:
        remark = "no better than chance"
    elif one.interval and one.interval.high < 0.5:
        remark = "worse than chance"
    return printable(name), f"{one.auc:.3f}", _limits(one.interval, "{:.3f}"), remark


def _lift(figures: BacktestFigures) -> Section:
    return Section(
        "Lift",
        tuple(
            f"The lowest-scoring {percent} % of each date have {lift:.2f} times the churn rate of all accounts."
            for percent, lift in figures.lifts.items()
        ),
    )


def _rates(title: str, column: str, rates: Sequence[ChurnRate], *, ordered: bool) -> Section:
    rows = [(column, "observations", "accounts", "churned", "rate", "95 % interval")]
    rows += [
        (
            one.name,
            f"{one.observations:,}",
            f"{one.accounts:,}",
            f"{one.churned:,}",
            _percent(one.rate),
            _limits(one.interval, "{:.1%}"),
        )
        for one in rates
    ]
    sentence = "The churn rates are ordered." if ordered else "The churn rates are not ordered."
    return Section(title, (sentence,), tuple(rows), frozenset({1, 2, 3, 4}))


def _alerts(figures: BacktestFigures) -> Section:
    alerts = figures.alerts
    rows = [
        ("figure", "value"),
        ("observations that alert", f"{alerts.observations:,}"),
        ("churned ones among them", f"{alerts.churned:,}"),
        ("precision (alerts that churned)", _percent(alerts.precision)),
        ("recall (churned that alerted)", _percent(alerts.recall)),
        ("recall weighted by MRR", _percent(alerts.recall_by_mrr)),
        ("alerts per 100 accounts and month", _number(alerts.per_100_accounts_and_month)),
    ]
    return Section("Alerts", (), tuple(rows), frozenset({1}))


def _lead_time(figures: BacktestFigures) -> Section:
    lead = figures.lead_time
    rows = [
        ("figure", "value"),
        ("accounts that left", f"{lead.spells:,}"),
        ("median, days", _number(lead.median)),
        ("lower quartile, days", _number(lead.lower_quartile)),
        ("upper quartile, days", _number(lead.upper_quartile)),
        ("never alerted", _percent(lead.never_alerted)),
    ]
    return Section(
        "Lead time",
        ("Days from the start of the last uninterrupted run of alerting days until the account left.",),
        tuple(rows),
        frozenset({1}),
    )


def _churned(lead_times: Sequence[LeadTime]) -> Section:
    """Return the list of accounts that left, which is short where there is no AUC."""
    if not lead_times:
        return Section("Accounts that left", ("No account left.",))
    rows = [("account", "left", "days since the alert")]
    rows += [
        (
            printable(one.account_id),
            str(one.ended_on),
            "never alerted" if one.days is None else f"{one.days:,}",
        )
        for one in lead_times
    ]
    return Section("Accounts that left", (), tuple(rows), frozenset({2}))


def _green_churn(churned: Sequence[GreenChurn]) -> Section:
    if not churned:
        return Section("Green churn", ("No churned account was GREEN on its last observation.",))
    rows = [("account", "name", "observed", "left", "score", "MRR", "signals that misled most")]
    rows += [
        (
            printable(one.account_id),
            printable(one.account_name),
            str(one.observed_on),
            str(one.ended_on),
            f"{one.score:.1f}",
            "unknown" if one.mrr is None else f"{one.mrr:,.2f} {printable(one.currency or '')}".rstrip(),
            ", ".join(input_name(signal) for signal in one.misleading),
        )
        for one in churned
    ]
    return Section(
        "Green churn",
        (f"{counted(len(churned), 'account')} left and had been GREEN on the last observation.",),
        tuple(rows),
        frozenset({4, 5}),
    )


def _calibration(figures: BacktestFigures) -> Section:
    rows = [("decile", "scores", "observations", "churned", "rate", "95 % interval")]
    rows += [
        (
            str(one.decile),
            f"{one.lowest:.1f} to {one.highest:.1f}",
            f"{one.observations:,}",
            f"{one.churned:,}",
            _percent(one.rate),
            _limits(one.interval, "{:.1%}"),
        )
        for one in figures.calibration
    ]
    if len(rows) == 1:
        return Section("Calibration", ("There are no observations.",))
    return Section(
        "Calibration",
        ("The churn rate by decile of the score, lowest scores first.",),
        tuple(rows),
        frozenset({0, 2, 3, 4}),
    )


def _advice(advice: Advice) -> Section:
    sentences: list[str] = []
    if advice.reason:
        sentences.append(f"{advice.reason[0].upper()}{advice.reason[1:]}.")
    if advice.proposed and advice.before and advice.after and advice.gain is not None:
        proposed = advice.proposed
        sentences += [
            f"Best on the first two thirds of the dates, without more alerts: GREEN from {proposed.green_threshold:g}, "
            f"AMBER from {proposed.amber_threshold:g}, churn window {proposed.churn_window_days} days.",
            f"On the last third, {advice.after.churned:,} instead of {advice.before.churned:,} of "
            f"{counted(advice.churned, 'churned observation')} alert, {_points(advice.gain)} percentage points "
            f"({_gain_limits(advice.interval)}), with {advice.after.observations:,} instead of "
            f"{advice.before.observations:,} alerts.",
        ]
    if advice.changes:
        sentences.append(
            "To try it, add this entry to csm.yaml before entries that match the same accounts, and run csm whatif."
        )
    return Section("Advice", tuple(sentences), code=advice.policies_yaml)


def _limits(interval: Interval | None, form: str) -> str:
    return f"{form.format(interval.low)} to {form.format(interval.high)}" if interval else "-"


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"


def _gain_limits(interval: Interval | None) -> str:
    return f"{_points(interval.low)} to {_points(interval.high)}" if interval else "-"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"
