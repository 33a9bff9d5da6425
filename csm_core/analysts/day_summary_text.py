"""The text of a day's summary at the end of a run."""

from __future__ import annotations

from csm_core.analysts.day_summary import RAGS, DaySummary, Mover
from csm_core.display_names import input_name
from csm_core.system.terminal import printable
from csm_core.system.text_table import counted, text_table

# The signals with the most accounts without data; `--json` has all.
MISSING = 3
RENEWALS = 5


def rag_counts(summary: DaySummary) -> list[str]:
    """The number of accounts in each band, such as ``104 GREEN``."""
    return [f"{summary.by_rag.get(rag, 0):,} {rag}" for rag in RAGS]


def day_lines(summary: DaySummary) -> list[str]:
    """The lines of the summary."""
    rags = "   ".join(f"{rag} {summary.by_rag.get(rag, 0):,}{_change(summary, rag)}" for rag in RAGS)
    risks = ", ".join(
        f"{summary.by_risk[level]:,} {level}" for level in ("critical", "high") if summary.by_risk.get(level)
    )
    lines = [
        f"Accounts   {summary.accounts:,}   {rags}   mean score {summary.mean_score:.1f}{_mean_change(summary)}",
        f"Alerts     {summary.alerts:,}" + (f"   churn risk: {risks}" if risks else ""),
    ]
    if summary.mrr_at_risk:
        amounts = ", ".join(f"{amount:,.2f} {printable(currency)}" for currency, amount in summary.mrr_at_risk.items())
        lines.append(f"At risk    MRR of accounts with high or critical churn risk: {amounts}{_converted(summary)}")
    if summary.accounts_without_rate:
        accounts = counted(summary.accounts_without_rate, "account")
        lines.append(f"No rate    the MRR of {accounts} is not converted; add the rates of their currencies to fx")
    lines += [
        f"Renewal    {printable(one.account_name)} ({printable(one.account_id)}): {one.text()}"
        for one in summary.near_renewals[:RENEWALS]
    ]
    if len(summary.near_renewals) > RENEWALS:
        lines.append(f"{'':11}and {len(summary.near_renewals) - RENEWALS:,} more without a review; `--json` lists them")
    if summary.missing:
        listed = ", ".join(
            f"{input_name(signal)} {counted(accounts, 'account')}"
            for signal, accounts in list(summary.missing.items())[:MISSING]
        )
        more = f", and {len(summary.missing) - MISSING} more" if len(summary.missing) > MISSING else ""
        lines.append(f"No data    {listed}{more}; mean coverage {summary.mean_coverage:.0%}")
    if summary.movers:
        lines.append(f"Movers     since {summary.previous_day}")
        lines += [
            f"{'':11}{line}" for line in text_table([_mover_cells(mover) for mover in summary.movers], right={1, 3})
        ]
    elif summary.previous_day:
        lines.append(f"Movers     none since {summary.previous_day}")
    return lines


def _converted(summary: DaySummary) -> str:
    if summary.mrr_at_risk_reporting is None:
        return ""
    return f"; converted {summary.mrr_at_risk_reporting:,.2f} {printable(summary.reporting_currency or '')}"


def _mover_cells(mover: Mover) -> list[str]:
    name = f"{printable(mover.account_name)} ({printable(mover.account_id)})"
    return [
        "up" if mover.score > mover.score_before else "down",
        f"{mover.score_before:.1f}",
        "to",
        f"{mover.score:.1f}",
        mover.rag if mover.rag == mover.rag_before else f"{mover.rag_before} to {mover.rag}",
        f"{name}: {input_name(mover.signal)} {mover.signal_change:+.1f}",
    ]


def _mean_change(summary: DaySummary) -> str:
    if summary.mean_score_before is None:
        return ""
    change = round(summary.mean_score, 1) - round(summary.mean_score_before, 1)
    return f" ({change:+.1f})" if round(change, 1) else " (=)"


def _change(summary: DaySummary, rag: str) -> str:
    if not summary.by_rag_before:
        return ""
    change = summary.by_rag.get(rag, 0) - summary.by_rag_before.get(rag, 0)
    return f" ({change:+,})" if change else " (=)"
