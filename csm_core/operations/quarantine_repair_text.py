"""Formats the result of `csm quarantine repair`."""

from __future__ import annotations

from csm_core.operations.quarantine_repair import Repair
from csm_core.system.terminal import printable

_MAX_LISTED = 20


def repair_text(report: Repair) -> str:
    """The counts, and the records that are still rejected with the reasons."""
    lines = [
        f"{report.entity}: {report.accepted:,} accepted, {len(report.still_rejected):,} still rejected, "
        f"{report.unchanged:,} unchanged" + (f", {report.gone:,} no longer in the quarantine" if report.gone else "")
    ]
    for one in report.still_rejected[:_MAX_LISTED]:
        where = f" in {one.field}" if one.field else ""
        value = f": {printable(one.value)}" if one.value else ""
        lines.append(f"  {one.source_file}:{one.source_line}  {one.reason}{where}{value}")
    if len(report.still_rejected) > _MAX_LISTED:
        lines.append(f"  and {len(report.still_rejected) - _MAX_LISTED:,} more; --json lists all")
    if report.accepted:
        lines.append("The next `csm run` uses the accepted records.")
    return "\n".join(lines)
