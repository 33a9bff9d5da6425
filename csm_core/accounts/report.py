"""Formats the output of `csm identity`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from csm_core.accounts.account_suggestions import SourceMatches, UnmatchedCustomer
from csm_core.system.terminal import printable
from csm_core.system.text_table import counted, counted_records


def matches_text(sources: Sequence[SourceMatches], customers: Sequence[UnmatchedCustomer]) -> str:
    """Return a line for each source, followed by the listed unmatched customers with their candidates."""
    if not sources:
        return "no staged source has customers with external ids"
    lines: list[str] = []
    for source in sources:
        own = [one for one in customers if (one.system, one.source) == (source.system, source.source)]
        lines += [_source_line(source), *(line for one in own for line in _customer_lines(one))]
        if len(own) < source.unmatched:
            lines.append(
                f"  … and {source.unmatched - len(own):,} more unmatched; use --limit, or --out to export all of them"
            )
    return "\n".join(lines)


def exported_text(written: int, out: Path) -> str:
    """Return the number of exported customers, and what to do with the file."""
    message = f"{counted(written, 'unmatched customer')} written to {out}"
    return (
        f"{message}: replace each `?` with an account or a blank, and add the file to `account_map`"
        if written
        else message
    )


def _source_line(source: SourceMatches) -> str:
    name = source.source if source.source == source.system else f"{source.source} ({source.system})"
    counts = {
        "by file": source.by_file,
        "by column": source.by_column,
        "by domain": source.by_domain,
        "ignored": source.ignored,
        "unmatched": source.unmatched,
    }
    line = f"{name}: {counted(source.customers, 'customer')}"
    line += "".join(f", {count:,} {what}" for what, count in counts.items() if count or what == "unmatched")
    if source.unknown_account:
        line += f"; {source.unknown_account:,} matched with unknown accounts"
    return line


def _customer_lines(customer: UnmatchedCustomer) -> list[str]:
    named = "  ".join(printable(text) for text in (customer.external_id, customer.name, customer.domain) if text)
    waiting = ", ".join(counted_records(count, entity) for entity, count in customer.waiting.items())
    return [
        f"  {named}  waiting: {waiting or 'nothing'}",
        *(
            f"      {one.similarity:.2f}  {printable(one.account_id)}  {printable(one.account_name)}  ({one.because})"
            for one in customer.candidates
        ),
    ]
