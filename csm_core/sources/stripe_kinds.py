"""Declares the parts of Stripe's records that staging models read: keys, versions, and fields that must parse."""

from __future__ import annotations

from csm_core.ingest.record_kinds import (
    Field,
    RecordKind,
    complete,
    flags,
    level,
    lists,
    numbers,
    objects,
    times,
    wholes,
)

INTERVALS = ("day", "week", "month", "year")
USAGE_TYPES = ("licensed", "metered")
SUBSCRIPTION_STATUSES = (
    *("active", "trialing", "past_due", "unpaid", "paused"),
    *("canceled", "ended", "incomplete", "incomplete_expired"),
)
# Airbyte writes the time of a change in Stripe into `updated`; histories of Fivetran state when a row became valid.
VERSIONS = ("updated", "_fivetran_start")
# Times of these are only ever added: a record that has one is later than a record without it.
_INVOICE_VERSIONS = (
    *VERSIONS,
    *(f"status_transitions.{name}" for name in ("voided_at", "paid_at", "marked_uncollectible_at", "finalized_at")),
)
_SUBSCRIPTION_VERSIONS = (*VERSIONS, "ended_at", "canceled_at", "current_period_end")
_DELETED = flags("deleted", "is_deleted", "_fivetran_deleted")


def _recurring(path: str, separator: str = ".", inside: str = "") -> tuple[Field, ...]:
    """The billing interval of a price, and whether it is metered; ``path`` is the prefix of ``interval``."""
    prefix = f"{path}{separator}" if path else ""
    return (
        *level(f"{prefix}interval", *INTERVALS, inside=inside),
        *wholes(f"{prefix}interval_count", inside=inside),
        *level(f"{prefix}usage_type", *USAGE_TYPES, inside=inside),
    )


def _price(path: str, inside: str = "") -> tuple[Field, ...]:
    """A price as Stripe's API has it."""
    prefix = f"{path}." if path else ""
    return (
        *wholes(f"{prefix}unit_amount", inside=inside),
        *numbers(f"{prefix}unit_amount_decimal", inside=inside),
        *level(f"{prefix}billing_scheme", "per_unit", "tiered", inside=inside),
        *wholes(f"{prefix}transform_quantity.divide_by", inside=inside),
        *level(f"{prefix}transform_quantity.round", "up", "down", inside=inside),
        *_recurring(f"{prefix}recurring", inside=inside),
    )


def _plan(path: str, inside: str = "") -> tuple[Field, ...]:
    """A plan, the predecessor of a price."""
    prefix = f"{path}." if path else ""
    return (
        *wholes(f"{prefix}amount", inside=inside),
        *numbers(f"{prefix}amount_decimal", inside=inside),
        *level(f"{prefix}billing_scheme", "per_unit", "tiered", inside=inside),
        *wholes(f"{prefix}transform_usage.divide_by", inside=inside),
        *level(f"{prefix}transform_usage.round", "up", "down", inside=inside),
        *_recurring(path, inside=inside),
    )


def _item(path: str, inside: str = "") -> tuple[Field, ...]:
    """A subscription item, or a subscription from an API version without items."""
    prefix = f"{path}." if path else ""
    return (
        *wholes(f"{prefix}quantity", inside=inside),
        *times(f"{prefix}current_period_start", f"{prefix}current_period_end", inside=inside),
        *_price(f"{prefix}price", inside=inside),
        *_plan(f"{prefix}plan", inside=inside),
    )


CUSTOMERS = RecordKind(
    "customers",
    ("customers", "airbyte_customers", "fivetran_customer"),
    fields=(*flags("livemode"), *_DELETED, *objects("metadata")),
    versions=VERSIONS,
    customers=(("id", ""),),
)

SUBSCRIPTIONS = RecordKind(
    "subscriptions",
    ("subscriptions", "airbyte_subscriptions", "fivetran_subscription", "fivetran_subscription_history"),
    fields=(
        *times("start_date", "created", "ended_at", "canceled_at", "cancel_at", "trial_end"),
        *times("current_period_start", "current_period_end"),
        *flags("livemode", "cancel_at_period_end", "_fivetran_active"),
        *_DELETED,
        *level("status", *SUBSCRIPTION_STATUSES),
        *wholes("quantity"),
        *objects("items", "plan"),
        *lists("data", inside="items"),
        *complete("has_more", inside="items"),
        *_item("data[*]", inside="items"),
        *_plan("", inside="plan"),
    ),
    versions=_SUBSCRIPTION_VERSIONS,
    columns=("customer|customer_id", "status", "start_date|created"),
    customers=(("customer", ""), ("customer_id", "")),
)

EVENTS = RecordKind(
    "events",
    ("events",),
    fields=(
        *times("created"),
        *_DELETED,
        *objects("data"),
        *lists("object.items.data", inside="data"),
        *flags("object.items.has_more", inside="data"),
        *times("object.current_period_start", "object.current_period_end", inside="data"),
        *wholes("object.quantity", inside="data"),
        *_plan("object.plan", inside="data"),
        *_item("object.items.data[*]", inside="data"),
    ),
    required=(("created",),),
    versions=VERSIONS,
    where="starts_with(record ->> '$.type', 'customer.subscription.')",
    customers=(("data.object.customer", ""),),
)

INVOICES = RecordKind(
    "invoices",
    ("invoices", "airbyte_invoices", "fivetran_invoice"),
    fields=(
        *wholes("amount_due", "pre_payment_credit_notes_amount"),
        *times("created", "date", "due_date", "finalized_at", "voided_at"),
        *times(
            *(
                f"status_transitions_{name}"
                for name in ("finalized_at", "paid_at", "voided_at", "marked_uncollectible_at")
            )
        ),
        *flags("livemode", "paid", "closed", "forgiven"),
        *_DELETED,
        *level("status", "draft", "open", "paid", "uncollectible", "void", "deleted"),
        *objects("status_transitions", "lines", "parent"),
        *times("finalized_at", "paid_at", "voided_at", "marked_uncollectible_at", inside="status_transitions"),
        *lists("data", inside="lines"),
        *complete("has_more", inside="lines"),
        *wholes("data[*].quantity", "data[*].amount", inside="lines"),
        *times("data[*].period.start", "data[*].period.end", inside="lines"),
        *flags(
            "data[*].proration",
            "data[*].parent.subscription_item_details.proration",
            "data[*].parent.invoice_item_details.proration",
            inside="lines",
        ),
        *numbers("data[*].pricing.unit_amount_decimal", inside="lines"),
        *_price("data[*].price", inside="lines"),
        *_plan("data[*].plan", inside="lines"),
    ),
    versions=_INVOICE_VERSIONS,
    columns=("customer|customer_id", "amount_due", "currency"),
    customers=(("customer", ""), ("customer_id", "")),
)

CREDIT_NOTES = RecordKind(
    "credit_notes",
    ("credit_notes", "airbyte_credit_notes", "fivetran_credit_note"),
    fields=(
        *times("created", "effective_at"),
        *wholes("amount", "pre_payment_amount"),
        *level("status", "issued", "void"),
        *level("type", "pre_payment", "post_payment", "mixed"),
        *_DELETED,
    ),
    versions=VERSIONS,
    columns=("invoice|invoice_id",),
    customers=(("customer", ""), ("customer_id", "")),
)

SUBSCRIPTION_ITEMS = RecordKind(
    "subscription_items",
    ("fivetran_subscription_item",),
    fields=(*wholes("quantity"), *times("current_period_start", "current_period_end"), *_DELETED),
    versions=VERSIONS,
    columns=("subscription_id", "price_id|plan_id"),
)

PRICES = RecordKind(
    "prices",
    ("prices", "airbyte_prices", "fivetran_price"),
    fields=(
        *_DELETED,
        *wholes("unit_amount"),
        *numbers("unit_amount_decimal"),
        *level("billing_scheme", "per_unit", "tiered"),
        *objects("recurring", "transform_quantity"),
        *_recurring("", inside="recurring"),
        *_recurring("recurring", "_"),
        *wholes("divide_by", inside="transform_quantity"),
        *level("round", "up", "down", inside="transform_quantity"),
        *wholes("transform_quantity_divide_by"),
        *level("transform_quantity_round", "up", "down"),
    ),
    versions=VERSIONS,
)

PLANS = RecordKind(
    "plans",
    ("airbyte_plans", "fivetran_plan"),
    fields=(
        *_DELETED,
        *wholes("amount"),
        *numbers("amount_decimal"),
        *level("billing_scheme", "per_unit", "tiered"),
        *objects("transform_usage"),
        *_recurring(""),
        *wholes("divide_by", inside="transform_usage"),
        *level("round", "up", "down", inside="transform_usage"),
        *wholes("transform_usage_divide_by"),
        *level("transform_usage_round", "up", "down"),
    ),
    versions=VERSIONS,
)

INVOICE_LINES = RecordKind(
    "invoice_lines",
    ("fivetran_invoice_line_item",),
    # In old versions of the API, lines have the id of their subscription, so lines share it. The table has no
    # duplicates.
    key=(),
    fields=(
        *wholes("quantity", "amount"),
        *times("period_start", "period_end"),
        *flags("proration"),
        *_DELETED,
    ),
    versions=VERSIONS,
)

KINDS = (
    CUSTOMERS,
    SUBSCRIPTIONS,
    EVENTS,
    INVOICES,
    CREDIT_NOTES,
    SUBSCRIPTION_ITEMS,
    PRICES,
    PLANS,
    INVOICE_LINES,
)
