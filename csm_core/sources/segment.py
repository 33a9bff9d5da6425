"""The source system ``segment``: events in Segment's shape, from files or from the tables of its warehouse schema.

Both ways of writing a key are read, that of the HTTP API (``messageId``) and that of the warehouse (``message_id``),
wherever a record comes from. What a record holds of who, what and when is opened while it is loaded: there are too many
of them to look into their JSON in every run.
"""

from __future__ import annotations

from csm_core.contract import USAGE_EVENTS
from csm_core.sources.vendor import VendorSource

SYSTEM = "segment"
_CALLS: dict[str, str] = dict.fromkeys(("tracks", "pages", "identifies", "groups"), USAGE_EVENTS)

SEGMENT = VendorSource(
    name=SYSTEM,
    # Dumps have calls of all types in one file.
    records={"events": USAGE_EVENTS, **_CALLS},
    own=_CALLS,
    needed=("events", "tracks"),
    required=(),
    opened=(
        ("call_type", ("$.type",)),
        ("message_id", ("$.messageId", "$.message_id", "$.id")),
        ("user_id", ("$.userId", "$.user_id")),
        ("anonymous_id", ("$.anonymousId", "$.anonymous_id")),
        ("group_id", ("$.groupId", "$.group_id", "$.context.groupId", "$.context.group_id", "$.context_group_id")),
        ("called", ("$.event_text", "$.event", "$.name")),
        ("happened", ("$.timestamp",)),
        ("original", ("$.originalTimestamp", "$.original_timestamp")),
        ("sent", ("$.sentAt", "$.sent_at")),
        ("received", ("$.receivedAt", "$.received_at")),
    ),
)
