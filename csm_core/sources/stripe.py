"""The source system ``stripe``: files of API records, tables landed by Fivetran or Airbyte, or the API itself."""

from __future__ import annotations

from collections.abc import Mapping

from csm_core.sources.settings import StripeApi
from csm_core.sources.stripe_api import SYSTEM, StripeStream, connect, reach
from csm_core.sources.stripe_kinds import KINDS
from csm_core.sources.vendor import VendorSource

_RECORDS = ("customers", "subscriptions", "invoices", "credit_notes", "events", "prices")
_AIRBYTE = ("customers", "subscriptions", "invoices", "credit_notes", "prices", "plans")
# Newer Fivetran connectors land the history of subscriptions instead of the current subscriptions.
_FIVETRAN = (
    *("customer", "subscription", "subscription_history", "subscription_item", "plan", "price"),
    *("invoice", "invoice_line_item", "credit_note"),
)


def _entities(names: tuple[str, ...]) -> Mapping[str, str]:
    """The staged entity that a table's records count for."""
    of_subscriptions = ("subscription", "event", "price", "plan")
    return {name: "subscriptions" if name.startswith(of_subscriptions) else "invoices" for name in names}


STRIPE = VendorSource(
    name=SYSTEM,
    records=_entities(_RECORDS),
    airbyte=_entities(_AIRBYTE),
    fivetran=_entities(_FIVETRAN),
    needed=("subscriptions", "invoices", "subscription", "subscription_history", "invoice"),
    reach=lambda source: reach(source.api or StripeApi()),
    stream=lambda source: StripeStream(connect(source.api or StripeApi())),
    kinds=KINDS,
)
