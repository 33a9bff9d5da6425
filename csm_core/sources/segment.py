"""The source system ``segment``: events in Segment's format, from files or from the tables of its warehouse schema.

All inputs may use the keys of the HTTP API (``messageId``), of the warehouse (``message_id``), in lower case, or of
RudderStack and Jitsu. The loader extracts the user, event and time of a call, since there are too many calls to parse
their JSON in every run. Identify and group calls are few; they are records of the kinds ``identify`` and ``group``.
"""

from __future__ import annotations

from csm_core.contract import USAGE_EVENTS
from csm_core.ingest.raw_tables import JsonText
from csm_core.ingest.record_kinds import Field, RecordKind, objects, times
from csm_core.sources.vendor import VendorSource

SYSTEM = "segment"
_CALLS: dict[str, str] = dict.fromkeys(("tracks", "pages", "identifies", "groups"), USAGE_EVENTS)

_TIMES: dict[str, tuple[str, ...]] = {
    "happened": ("timestamp", "utc_time", "eventn_ctx.utc_time", "eventn_ctx_utc_time"),
    "original": ("originalTimestamp", "original_timestamp", "originaltimestamp"),
    "sent": ("sentAt", "sent_at", "sentat"),
    "received": ("receivedAt", "received_at", "receivedat", "_timestamp"),
}
_HELPER_FIELDS: tuple[Field, ...] = (
    *(field for paths in _TIMES.values() for field in times(*paths)),
    *objects("traits", "context", "context_traits"),
    *objects("traits", inside="context"),
)


# A user is a member of a group, or a customer on its own; a group call belongs to its group alone.
_GROUPS = tuple((path, "") for path in ("groupId", "group_id", "context.groupId", "context_group_id"))
_CUSTOMERS = {"group": _GROUPS, "identify": (*_GROUPS, ("userId", "user/"), ("user_id", "user/"))}


def _helper_kinds(name: str, table: str, *call_types: str) -> tuple[RecordKind, ...]:
    """The kinds of one type of helper call: in separate tables, and in files with calls of all types."""
    listed = ", ".join(f"'{call_type}'" for call_type in call_types)
    tables = (table, f"{SYSTEM}_{table}")
    # A call may have no id. The step that reads the calls chooses the latest version of calls with an id.
    return (
        RecordKind(name, tables, key=(), fields=_HELPER_FIELDS, versions=(), customers=_CUSTOMERS[name]),
        RecordKind(
            name,
            ("events",),
            (),
            _HELPER_FIELDS,
            versions=(),
            where=f"lower(trim(call_type)) in ({listed})",
            customers=_CUSTOMERS[name],
        ),
    )


# Instead of an object, a user may be an id, and a company a name.
_OR_TEXT = ("user", "eventn_ctx.user", "context.traits.company")


def _json_texts(where: str = "") -> tuple[JsonText, ...]:
    """The objects of a call, each before the objects inside it."""
    return (
        *(JsonText(path, where) for path in ("properties", "traits", "context", "context.traits", "eventn_ctx")),
        *(JsonText(path, where, may_be_text=True) for path in _OR_TEXT),
    )


# The fields of identify and group calls are declared by their record kinds.
_NO_HELPER = "(call_type is null or lower(trim(call_type)) not in ('identify', 'user_identify', 'group'))"

SEGMENT = VendorSource(
    name=SYSTEM,
    # Segment's dumps have calls of all types in one file.
    records={"events": USAGE_EVENTS, **_CALLS},
    own=_CALLS,
    landed_required=dict.fromkeys([f"{SYSTEM}_{name}" for name in _CALLS], ("id|message_id|messageId",)),
    needed=("events", "tracks"),
    required=(),
    opened=(
        ("call_type", ("$.type", "$.event_type")),
        (
            "message_id",
            (
                *("$.messageId", "$.message_id", "$.messageid", "$.id"),
                *("$.eventn_ctx.event_id", "$.eventn_ctx_event_id", "$.event_id"),
            ),
        ),
        (
            "user_id",
            (
                *("$.userId", "$.user_id", "$.userid", "$.user.id", "$.user.internal_id", "$.user_internal_id"),
                *("$.eventn_ctx.user.id", "$.eventn_ctx.user.internal_id"),
                *("$.eventn_ctx_user_id", "$.eventn_ctx_user_internal_id"),
            ),
        ),
        (
            "anonymous_id",
            (
                *("$.anonymousId", "$.anonymous_id", "$.anonymousid", "$.user.anonymous_id", "$.user_anonymous_id"),
                *("$.eventn_ctx.user.anonymous_id", "$.eventn_ctx_user_anonymous_id"),
            ),
        ),
        (
            "group_id",
            (
                *("$.groupId", "$.group_id", "$.groupid", "$.context.groupId", "$.context.group_id"),
                *("$.context_group_id", "$.context_groupid"),
                *("$.context.traits.company.id", "$.context_traits_company_id"),
            ),
        ),
        ("called", ("$.event_text", "$.event", "$.name", "$.event_type")),
        *((column, tuple(f"$.{path}" for path in paths)) for column, paths in _TIMES.items()),
    ),
    json_texts={
        "events": _json_texts(_NO_HELPER),
        **dict.fromkeys(("tracks", "pages", f"{SYSTEM}_tracks", f"{SYSTEM}_pages"), _json_texts()),
    },
    kinds=(
        *_helper_kinds("identify", "identifies", "identify", "user_identify"),
        *_helper_kinds("group", "groups", "group"),
    ),
)
