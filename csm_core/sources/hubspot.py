"""The source system ``hubspot``: companies, contacts and engagements, by files, landed tables or its API."""

from __future__ import annotations

from csm_core.sources.hubspot_api import ENGAGEMENTS, OBJECTS, PAGES_PER_PACKAGE, SYSTEM, HubSpotStream, connect, reach
from csm_core.sources.vendor import VendorSource

_AIRBYTE_ENGAGEMENTS = tuple(f"engagements_{name}" for name in ENGAGEMENTS)
_AIRBYTE = ("companies", "contacts", *_AIRBYTE_ENGAGEMENTS, "contacts_merged_audit", "owners")
_KINDS = ("call", "email", "meeting", "note", "task", "communication")
_FIVETRAN_ENGAGEMENTS = ("engagement", *(f"engagement_{kind}" for kind in _KINDS))
_FIVETRAN = (
    *("company", "contact", *_FIVETRAN_ENGAGEMENTS),
    *("engagement_company", "engagement_contact", "contact_merge_audit", "owner"),
)

HUBSPOT = VendorSource(
    name=SYSTEM,
    records=dict.fromkeys((*OBJECTS, "owners"), "interactions"),
    airbyte=dict.fromkeys(_AIRBYTE, "interactions"),
    fivetran=dict.fromkeys(_FIVETRAN, "interactions"),
    needed=("companies", "company", *ENGAGEMENTS, *_AIRBYTE_ENGAGEMENTS, *_FIVETRAN_ENGAGEMENTS),
    reach=lambda source: reach(source.api),
    stream=lambda source: HubSpotStream(connect(source.api), source),
    pages=PAGES_PER_PACKAGE,
)
