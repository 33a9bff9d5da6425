"""The configured rates that convert amounts to the reporting currency: their limits, and the table ``run.fx_rates``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

import duckdb

from csm_core.system.paths import shown
from csm_core.warehouse.catalog import transaction

FX_RATES_TABLE = "run.fx_rates"
# The models multiply decimal(23, 2) with decimal(14, 8): DuckDB and Spark compute both exactly, in 38 digits.
RATE_LIMIT, RATE_PLACES = Decimal(1_000_000), 8
_CURRENCY = re.compile(r"[A-Z]{3}\Z")


def store_rates(
    connection: duckdb.DuckDBPyConnection, rates: Mapping[str, Decimal], reporting_currency: str | None
) -> None:
    """Replace ``run.fx_rates`` with the rates of a configuration, including that of the reporting currency, which is 1.

    Without rates the table is empty, and the models convert no amount.
    """
    with transaction(connection):
        connection.execute(f"delete from {FX_RATES_TABLE}")
        for currency, rate in sorted(rates.items()):
            connection.execute(
                f"insert into {FX_RATES_TABLE} (currency, rate, reporting_currency) values (?, ?, ?)",
                [currency, rate, reporting_currency],
            )


def checked_currency(code: object) -> str:
    """Return a currency code that records may have. Raises ValueError for another one."""
    if isinstance(code, str) and _CURRENCY.match(code):
        return code
    near = code.strip().upper() if isinstance(code, str) else ""
    hint = f"write {near}" if _CURRENCY.match(near) else "write an ISO 4217 code, such as EUR"
    message = f"{shown(code)} is not a currency code of three capital letters: {hint}"
    raise ValueError(message)


def checked_rates(rates: Mapping[object, object]) -> dict[str, Decimal]:
    """Return the rates by currency. Raises ValueError for a code or a number that cannot be used."""
    return {checked_currency(code): _checked_rate(str(code), rate) for code, rate in rates.items()}


def require_reporting_currency(reporting_currency: str | None, rates: Mapping[str, Decimal]) -> None:
    """Raise ValueError unless there are both rates and a reporting currency, whose rate is 1, or none of them."""
    if reporting_currency is None:
        if rates:
            message = "reporting_currency is missing: add the currency that the rates convert to, such as USD"
            raise ValueError(message)
        return
    if not rates:
        message = (
            f"reporting_currency is {reporting_currency}, but there are no rates: add those of the other currencies, "
            "such as fx: {GBP: 1.27}, or remove reporting_currency"
        )
        raise ValueError(message)
    if rates.get(reporting_currency, 1) != 1:
        message = f"{reporting_currency} is the reporting currency, so its rate is 1: remove {reporting_currency}"
        raise ValueError(message)


def _checked_rate(code: str, rate: object) -> Decimal:
    try:
        # A boolean is a number in Python, but no rate.
        number = Decimal("nan") if isinstance(rate, bool) else Decimal(str(rate))
    except ArithmeticError:
        number = Decimal("nan")
    if not number.is_finite() or number <= 0:
        message = (
            f"the rate of {code} is {shown(rate)}, which is not a positive number: write how many units of the "
            f"reporting currency one {code} is worth, such as {code}: 1.08"
        )
        raise ValueError(message)
    if number >= RATE_LIMIT or number != round(number, RATE_PLACES):
        message = (
            f"the rate of {code} is {shown(rate)}: write a rate below {RATE_LIMIT:,} with at most {RATE_PLACES} "
            "decimal places"
        )
        raise ValueError(message)
    return number
