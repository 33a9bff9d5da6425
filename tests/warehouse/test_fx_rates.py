"""The table of rates has those of the latest configuration."""

from decimal import Decimal

from csm_core.warehouse.fx_rates import store_rates
from tests.sql.harness import fresh


def test_rates_are_replaced_and_removed():
    with fresh() as connection:
        store_rates(connection, {"EUR": Decimal("1.08"), "USD": Decimal(1)}, "USD")
        store_rates(connection, {"JPY": Decimal("0.00671141"), "USD": Decimal(1)}, "USD")
        assert connection.execute("from run.fx_rates order by currency").fetchall() == [
            ("JPY", Decimal("0.00671141"), "USD"),
            ("USD", Decimal("1.00000000"), "USD"),
        ]
        store_rates(connection, {}, None)
        assert connection.execute("from run.fx_rates").fetchall() == []
