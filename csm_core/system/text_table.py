"""Formats tables and counts as text."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def text_table(rows: Sequence[Sequence[str]], *, right: Collection[int] = ()) -> list[str]:
    """Return the rows as lines with aligned columns: the columns in ``right`` to the right, the others to the left.

    Every row has the same number of cells. Cells are not cleaned; use ``csm_core.system.terminal.printable`` for text
    from a source.
    """
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def counted(count: float, noun: str, plural: str = "") -> str:
    """Return a count with its noun: ``1 page``, ``2 pages``, ``1,000 pages``; ``plural`` is for irregular nouns."""
    number = f"{count:,}" if isinstance(count, int) else f"{count:g}"
    return f"{number} {noun if count == 1 else plural or f'{noun}s'}"


def counted_records(count: int, entity: str) -> str:
    """Return a count of records of an entity: ``1 ticket``, ``2 tickets``."""
    return counted(count, entity.removesuffix("s"), entity)


def is_or_are(count: int) -> str:
    """Return the verb for a count."""
    return "is" if count == 1 else "are"
