"""What `csm identity` prints."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from csm_core.accounts import account_suggestions
from csm_core.accounts.account_suggestions import SourceMatches, UnmatchedCustomer
from csm_core.errors import InputError
from csm_core.system.terminal import printable
from csm_core.warehouse.database import Warehouse


def identity_text(warehouse: Warehouse, *, limit: int, out: Path | None, as_json: bool) -> str:
    """Who is matched by what and who is not, or what was exported. Raises InputError without a warehouse."""
    if not warehouse.path.is_file():
        message = f"there is no warehouse at {warehouse.path}: `csm run` makes it"
        raise InputError(message)
    with warehouse.connect() as connection:
        if out:
            written = account_suggestions.export_unmatched(connection, out)
            said = f"{written:,} unmatched customers written to {out}"
            return f"{said}: put accounts in place of `?`, or a blank, and add it to `account_map`" if written else said
        found = account_suggestions.matches(connection)
        customers = account_suggestions.unmatched(connection, limit)
    if as_json:
        report = {"sources": [asdict(one) for one in found], "unmatched": [asdict(one) for one in customers]}
        return json.dumps(report, indent=2)
    if not found:
        return "no source that has been staged knows customers by ids of its own"
    lines: list[str] = []
    for source in found:
        own = [one for one in customers if (one.system, one.source) == (source.system, source.source)]
        lines += [_source_line(source), *(line for one in own for line in _customer_lines(one))]
        if len(own) < source.unmatched:
            lines.append(
                f"  … and {source.unmatched - len(own):,} more unmatched: see --limit, or --out for all of them"
            )
    return "\n".join(lines)


def _source_line(source: SourceMatches) -> str:
    name = source.source if source.source == source.system else f"{source.source} ({source.system})"
    counts = {
        "by file": source.by_file,
        "by column": source.by_column,
        "by domain": source.by_domain,
        "ignored": source.ignored,
        "unmatched": source.unmatched,
    }
    line = f"{name}: {source.customers:,} customers"
    line += "".join(f", {count:,} {what}" for what, count in counts.items() if count or what == "unmatched")
    if source.unknown_account:
        line += f"; {source.unknown_account:,} matched with accounts that are not among the accounts"
    return line


def _customer_lines(customer: UnmatchedCustomer) -> list[str]:
    named = "  ".join(printable(text) for text in (customer.external_id, customer.name, customer.domain) if text)
    waiting = ", ".join(f"{count:,} {entity}" for entity, count in customer.waiting.items())
    return [
        f"  {named}  waiting: {waiting or 'nothing'}",
        *(
            f"      {one.likeness:.2f}  {printable(one.account_id)}  {printable(one.account_name)}  ({one.because})"
            for one in customer.candidates
        ),
    ]
