"""The source system ``zendesk``: tickets and who asks, by files, landed tables or its API's incremental exports."""

from __future__ import annotations

from csm_core.sources.text_sentiment import TextSentiment
from csm_core.sources.vendor import VendorSource
from csm_core.sources.zendesk_api import PAGES_PER_PACKAGE, SYSTEM, ZendeskStream, connect, reach

_RECORDS = ("tickets", "organizations", "users", "ticket_audits", "satisfaction_ratings")
_FIVETRAN = ("ticket", "organization", "user", "domain_name", "ticket_tag", "ticket_field_history")

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
)
