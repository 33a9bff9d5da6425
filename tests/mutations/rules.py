"""What a text in a column of the contract means, written apart from the gate, in plain Python."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

from csm_core.contract import Column, Entity, Kind

BLANKS = " \t\r\n\v\f\u00a0\ufeff"
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(?: ?(Z|UTC|[+-]\d\d(?::?\d\d)?))?)?",
    re.ASCII,
)


class RejectedError(Exception):
    """The text does not parse, or is outside the range of its column."""


def meaning(column: Column, text: str | None) -> object:
    """The value that a text stands for; None: not given. Raises RejectedError."""
    bare = (text or "").strip(BLANKS)
    if not bare:
        return column.default
    if column.kind is Kind.TIMESTAMP:
        return _instant(bare)
    if column.kind is Kind.INTEGER:
        return _within(column, Decimal(_matched(r"[+-]?\d+(\.0+)?", bare)), lambda number: int(number))
    if column.kind is Kind.DECIMAL:
        return _within(column, Decimal(_matched(r"[+-]?\d+(\.\d+)?", bare)), _cents)
    if column.levels:
        found = [level for level in column.levels if level.lower() == bare.lower()]
        if not found:
            raise RejectedError
        return found[0]
    if column.currency:
        return _matched("[A-Z]{3}", bare.upper())
    whole = re.fullmatch(r"([+-]?\d+)\.0+", bare, re.ASCII) if column.identifier else None
    return whole[1] if whole else bare


def outcome(entity: Entity, values: dict[str, str | None], accounts: set[str]) -> tuple[str, dict[str, object]]:
    """What becomes of a record with a key of its own: loaded with its values, ignored, or rejected."""
    found: dict[str, object] = {}
    for column in entity.columns:
        try:
            found[column.name] = meaning(column, values.get(column.name))
        except RejectedError:
            return "rejected", {}
    if any(column.ignored_at is not None and found[column.name] == column.ignored_at for column in entity.columns):
        return "ignored", {}
    if any(column.required and found[column.name] is None for column in entity.columns):
        return "rejected", {}
    if entity.refers_to_accounts and found["account_id"] not in accounts:
        return "rejected", {}
    return "loaded", found


def _instant(text: str) -> datetime:
    match = _TIME.fullmatch(text)
    if not match:
        raise RejectedError
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    microsecond = int((fraction or "").ljust(6, "0")[:6])
    try:
        local = datetime(
            int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), microsecond, UTC
        )
        if offset and offset not in ("Z", "UTC"):
            hours, minutes = int(offset[1:3]), int(offset[3:].replace(":", "") or 0)
            if hours > 18 or minutes > 59:
                raise RejectedError
            shift = timedelta(hours=hours, minutes=minutes)
            local = local - shift if offset[0] == "+" else local + shift
    except (ValueError, OverflowError):
        raise RejectedError from None
    if int(year) < 1900:
        raise RejectedError
    return local.replace(tzinfo=None)


def _matched(pattern: str, text: str) -> str:
    if not re.fullmatch(pattern, text, re.ASCII):
        raise RejectedError
    return text


def _within(column: Column, number: Decimal, exact: Callable[[Decimal], object]) -> object:
    value = exact(number)
    if column.minimum is not None and value < column.minimum:  # type: ignore[operator]
        raise RejectedError
    if column.maximum is not None and value > column.maximum:  # type: ignore[operator]
        raise RejectedError
    return value


def _cents(number: Decimal) -> Decimal:
    if abs(number) > Decimal(10) ** 30:
        raise RejectedError
    return number.quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)
