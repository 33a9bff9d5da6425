"""The source system ``zendesk``: tickets and requesters from files, landed tables or the API's incremental exports."""

from __future__ import annotations

from csm_core.ingest.record_kinds import (
    Field,
    FieldKind,
    RecordKind,
    json_values,
    level,
    lists,
    numbers,
    objects,
    times,
    wholes,
)
from csm_core.sources.text_sentiment import TextSentiment
from csm_core.sources.vendor import VendorSource
from csm_core.sources.zendesk_api import PAGES_PER_PACKAGE, SYSTEM, ZendeskStream, connect, reach

_RECORDS = ("tickets", "organizations", "users", "ticket_audits", "satisfaction_ratings")
_FIVETRAN = ("ticket", "organization", "user", "domain_name", "ticket_tag", "ticket_field_history")

_STATUSES = ("new", "open", "pending", "hold", "on-hold", "on hold", "solved", "closed", "deleted")
_PRIORITIES = ("low", "normal", "high", "urgent")
# The spellings of the API, its filters and its exports.
_RATINGS = ("offered", "unoffered", "not offered", "received*", "good*", "bad*")


def _changed(path: str, *levels: str) -> Field:
    """The new value of a field, in the change events of an audit or in a row of the field history."""
    is_audit = path.startswith("[")
    name = "status" if "solved" in levels else "satisfaction_score"
    # Notifications and other events of an audit may have a `value` with another meaning.
    when = (("field_name", name), *((("type", "Create", "Change"),) if is_audit else ()))
    return Field(path, FieldKind.LEVEL, "events" if is_audit else "", levels, when)


_KINDS = (
    RecordKind(
        "tickets",
        ("tickets", "airbyte_tickets", "fivetran_ticket"),
        fields=(
            *times("created_at", "metric_set.solved_at"),
            *level("status", *_STATUSES),
            *level("priority", *_PRIORITIES),
            *objects("satisfaction_rating"),
            *json_values("custom_fields"),
            *lists("merged_ticket_ids"),
            *level("score", *_RATINGS, inside="satisfaction_rating"),
        ),
        required=(("created_at",),),
        columns=("created_at", "status", "organization_id|organization|requester_id|requester"),
        customers=(("organization_id", ""), ("organization", "")),
    ),
    RecordKind(
        "users",
        ("users", "airbyte_users", "fivetran_user"),
        customers=(("id", "user/"), ("organization_id", "")),
    ),
    RecordKind(
        "organizations",
        ("organizations", "airbyte_organizations", "fivetran_organization"),
        fields=(*lists("domain_names"), *objects("organization_fields")),
        customers=(("id", ""),),
    ),
    RecordKind(
        "domain_names",
        ("fivetran_domain_name",),
        key=(),
        fields=wholes("index"),
        columns=("organization_id", "domain_name"),
        customers=(("organization_id", ""),),
    ),
    RecordKind("ticket_tags", ("fivetran_ticket_tag",), key=(), columns=("ticket_id", "tag")),
    RecordKind(
        "ticket_metrics", ("airbyte_ticket_metrics",), ("ticket_id",), (*times("solved_at"),), columns=("solved_at",)
    ),
    RecordKind(
        "ticket_events",
        ("ticket_events",),
        fields=(
            *times("created_at", "timestamp"),
            *lists("child_events"),
            *level("[*].status", *_STATUSES, inside="child_events"),
            *level("[*].satisfaction_score", *_RATINGS, inside="child_events"),
        ),
        required=(("ticket_id",), ("created_at", "timestamp")),
    ),
    RecordKind(
        "ticket_audits",
        ("ticket_audits", "airbyte_ticket_audits"),
        fields=(
            *times("created_at"),
            *lists("events"),
            _changed("[*].value", *_STATUSES),
            _changed("[*].value", *_RATINGS),
        ),
        required=(("ticket_id",), ("created_at",)),
        columns=("ticket_id", "created_at", "events"),
    ),
    RecordKind(
        "ticket_field_history",
        ("fivetran_ticket_field_history",),
        key=(),
        fields=(*times("updated"), _changed("value", *_STATUSES), _changed("value", *_RATINGS)),
        required=(("ticket_id",), ("updated",)),
        columns=("ticket_id", "field_name", "value", "updated"),
    ),
    RecordKind(
        "satisfaction_ratings",
        ("satisfaction_ratings", "airbyte_satisfaction_ratings"),
        fields=(*times("created_at"), *level("score", *_RATINGS)),
        required=(("ticket_id",), ("created_at",)),
        columns=("ticket_id", "score", "created_at"),
    ),
    RecordKind("text_sentiments", ("text_sentiments",), (), numbers("compound")),
)

ZENDESK = VendorSource(
    name=SYSTEM,
    records=dict.fromkeys((*_RECORDS, "ticket_events"), "tickets"),
    airbyte=dict.fromkeys((*_RECORDS, "ticket_metrics"), "tickets"),
    fivetran=dict.fromkeys(_FIVETRAN, "tickets"),
    needed=("tickets", "ticket"),
    reach=lambda source: reach(source.api),
    stream=lambda source: ZendeskStream(connect(source.api)),
    pages=PAGES_PER_PACKAGE,
    derived=TextSentiment(SYSTEM, ("tickets", "airbyte_tickets", "fivetran_ticket")),
    kinds=_KINDS,
)
