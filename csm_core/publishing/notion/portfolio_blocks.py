"""Renders the portfolio page as blocks. Deterministic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from csm_core.display_names import SIGNALS
from csm_core.publishing.notion.renderers import RAG_EMOJI
from csm_core.publishing.notion.rich_text import Block, pieces, table_block, text_blocks
from csm_core.publishing.portfolio import COMPARED_DAYS, RENEWAL_DAYS, Mover, Portfolio
from csm_core.system.text_table import counted

_CELL_UNITS = 80
_UNASSIGNED = "unassigned"


def render_portfolio_blocks(
    portfolio: Portfolio, links: Mapping[str, str] | None = None, databases: Sequence[tuple[str, str]] = ()
) -> list[Block]:
    """The sections of the portfolio page: bands, changes, renewals, MRR at risk, data quality and links.

    ``links`` are the addresses of account pages by account id, ``databases`` the names and addresses of databases.
    """
    before = (
        f", {portfolio.mean_score_before:.1f} on {portfolio.compared_day}"
        if portfolio.mean_score_before is not None
        else ""
    )
    blocks = text_blocks(
        "paragraph",
        f"{counted(portfolio.accounts, 'customer account')} on {portfolio.day}. "
        f"The mean score is {portfolio.mean_score:.1f} of 100{before}.",
    )
    blocks += text_blocks("heading_2", "Accounts and MRR by band")
    converted = _converted_header(portfolio, "MRR")
    blocks.append(table_block([(*_BANDS, *converted), *_bands(portfolio)]))
    blocks += text_blocks("heading_2", "Largest changes")
    blocks += _movers(portfolio, links or {})
    blocks += text_blocks("heading_2", f"Renewals within {RENEWAL_DAYS} days")
    blocks += _renewals(portfolio, links or {})
    blocks += text_blocks("heading_2", "MRR at risk by owner")
    blocks += _at_risk(portfolio)
    blocks += text_blocks("heading_2", "Data quality")
    blocks += _data_quality(portfolio)
    if databases:
        blocks += text_blocks("heading_2", "Links")
        blocks += [_linked_item(name, address) for name, address in databases]
    return blocks


_BANDS = ("Band", "Accounts", f"{COMPARED_DAYS} days before", "MRR")
_MOVERS = ("Account", "Owner", "Score", "Band", "Signals that moved it")
_RENEWALS = ("Account", "Renewal", "Owner", "MRR", "Band", "Churn risk")
_OWNERS = ("Owner", "Accounts at risk", "MRR at risk")


def _bands(portfolio: Portfolio) -> list[tuple[str, ...]]:
    return [
        (
            _band(band.rag),
            f"{band.accounts:,}",
            "unknown" if band.accounts_before is None else f"{band.accounts_before:,}",
            _amounts(band.mrr),
            *_converted(portfolio, band.mrr_reporting),
        )
        for band in portfolio.bands
    ]


def _movers(portfolio: Portfolio, links: Mapping[str, str]) -> list[Block]:
    if portfolio.compared_day is None:
        return text_blocks("paragraph", f"No day about {COMPARED_DAYS} days earlier has scores to compare with.")
    if not portfolio.movers:
        return text_blocks("paragraph", f"No score moved by a point or more since {portfolio.compared_day}.")
    rows = [
        (
            _cell(one.account_name),
            _cell(one.csm_owner or _UNASSIGNED),
            f"{one.score_before:.1f} to {one.score:.1f}",
            _band(one.rag) if one.rag == one.rag_before else f"{one.rag_before} to {_band(one.rag)}",
            _signals(one),
        )
        for one in portfolio.movers
    ]
    table = table_block([_MOVERS, *rows])
    _link_rows(table, [links.get(one.account_id, "") for one in portfolio.movers])
    return [*text_blocks("paragraph", f"The accounts whose score changed most since {portfolio.compared_day}."), table]


def _renewals(portfolio: Portfolio, links: Mapping[str, str]) -> list[Block]:
    if not portfolio.renewals:
        return text_blocks("paragraph", "None.")
    rows = [
        (
            _cell(one.account_name),
            str(one.renewal_date),
            _cell(one.csm_owner or _UNASSIGNED),
            "unknown" if one.mrr is None else _amount(one.currency or "", one.mrr),
            _band(one.rag),
            one.churn_risk_level,
        )
        for one in portfolio.renewals
    ]
    table = table_block([_RENEWALS, *rows])
    _link_rows(table, [links.get(one.account_id, "") for one in portfolio.renewals])
    return [table, *_more(portfolio.renewal_count - len(portfolio.renewals), "renewal")]


def _at_risk(portfolio: Portfolio) -> list[Block]:
    if not portfolio.at_risk:
        return text_blocks("paragraph", "No account is at high or critical churn risk.")
    rows = [
        (
            _cell(one.csm_owner or _UNASSIGNED),
            f"{one.accounts:,}",
            _amounts(one.mrr),
            *_converted(portfolio, one.mrr_reporting),
        )
        for one in portfolio.at_risk
    ]
    explained = "Accounts at high or critical churn risk."
    if portfolio.mrr_at_risk_reporting is not None:
        total = _amount(portfolio.reporting_currency or "", portfolio.mrr_at_risk_reporting)
        explained += f" Their MRR in all currencies is {total}, converted with the configured rates."
    more = _more(portfolio.owner_count - len(portfolio.at_risk), "owner")
    table = table_block([(*_OWNERS, *_converted_header(portfolio, "MRR at risk")), *rows])
    return [*text_blocks("paragraph", explained), table, *more]


def _data_quality(portfolio: Portfolio) -> list[Block]:
    lines = [f"{100 * portfolio.mean_coverage:.0f} % of the weights of the score have data."]
    lines += [
        f"{SIGNALS[name][:1].upper()}{SIGNALS[name][1:]}: no data for {counted(accounts, 'account')}."
        for name, accounts in portfolio.missing
        if name in SIGNALS
    ]
    lines += [f"{counted(records, 'rejected record')} of {entity}." for entity, records in portfolio.rejected]
    if portfolio.accounts_without_rate:
        accounts = counted(portfolio.accounts_without_rate, "account")
        lines.append(f"The MRR of {accounts} is not converted, because a currency has no rate.")
    if portfolio.held_days:
        held = ", ".join(map(str, portfolio.held_days[-5:]))
        lines.append(f"Held by a failed check and not published: {held}.")
    return [block for line in lines for block in text_blocks("bulleted_list_item", line)]


def _more(count: int, what: str) -> list[Block]:
    return text_blocks("paragraph", f"And {counted(count, f'more {what}')}.") if count > 0 else []


def _signals(mover: Mover) -> str:
    return ", ".join(f"{SIGNALS[name]} {change:+.1f}" for name, change in mover.signals) or "TAM assessment"


def _band(rag: str) -> str:
    return f"{RAG_EMOJI[rag]} {rag}"


def _amounts(amounts: Sequence[tuple[str, Decimal]]) -> str:
    return ", ".join(_amount(currency, amount) for currency, amount in amounts) or "none"


def _amount(currency: str, amount: Decimal) -> str:
    return f"{amount:,.0f} {currency}".strip()


def _converted_header(portfolio: Portfolio, amount: str) -> list[str]:
    """The header of a column with converted amounts; without rates there is none."""
    return [f"{amount} in {portfolio.reporting_currency}"] if portfolio.reporting_currency else []


def _converted(portfolio: Portfolio, amount: Decimal | None) -> list[str]:
    return [f"{amount or Decimal(0):,.0f}"] if portfolio.reporting_currency else []


def _cell(text: str) -> str:
    first = next(pieces(text, _CELL_UNITS), "")
    return first if first == text else f"{first}…"


def _link_rows(table: Block, addresses: Sequence[str]) -> None:
    """Link the first cell of each row below the header."""
    for row, address in zip(table["table"]["children"][1:], addresses, strict=True):
        if address.startswith(("http://", "https://")):
            for run in row["table_row"]["cells"][0]:
                run["text"]["link"] = {"url": address}


def _linked_item(name: str, address: str) -> Block:
    (block,) = text_blocks("bulleted_list_item", name)
    for run in block["bulleted_list_item"]["rich_text"]:
        run["text"]["link"] = {"url": address}
    return block
