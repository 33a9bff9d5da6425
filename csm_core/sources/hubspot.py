"""The source system ``hubspot``: companies, contacts and engagements from files, landed tables or its API."""

from __future__ import annotations

from csm_core.ingest.record_kinds import RecordKind, flags, lists
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

_DELETIONS = ("archived", "is_deleted", "_fivetran_deleted")
_VERSIONS = (
    *("updatedAt", "updatedat", "updated_at", "properties.hs_lastmodifieddate", "properties.lastmodifieddate"),
    *("property_hs_lastmodifieddate", "properties_hs_lastmodifieddate", "property_lastmodifieddate"),
)
_OUT_OF_OFFICE = "hs_incoming_email_is_out_of_office"


def _kind(
    name: str,
    *tables: str,
    key: tuple[str, ...],
    columns: tuple[str, ...] = (),
    customers: tuple[tuple[str, str], ...] = (),
) -> RecordKind:
    return RecordKind(
        name,
        tables,
        key=key,
        fields=(
            *lists("companies", "contacts"),
            *flags("active", _OUT_OF_OFFICE, f"property_{_OUT_OF_OFFICE}", f"properties_{_OUT_OF_OFFICE}"),
            *flags(_OUT_OF_OFFICE, inside="properties"),
        ),
        versions=_VERSIONS,
        deletions=_DELETIONS,
        columns=columns,
        customers=customers,
    )


def _engagements(kind: str) -> RecordKind:
    plural = f"{kind}s"
    return _kind(
        kind, plural, f"airbyte_engagements_{plural}", f"fivetran_engagement_{kind}", key=("engagement_id", "id")
    )


_RECORD_KINDS = (
    _kind(
        "companies",
        *("companies", "airbyte_companies", "fivetran_company"),
        key=("id", "company_id"),
        customers=(("id", ""), ("company_id", "")),
    ),
    _kind(
        "contacts",
        *("contacts", "airbyte_contacts", "fivetran_contact"),
        key=("id", "vid"),
        customers=(
            *(("id", "contact/"), ("vid", "contact/"), ("properties.associatedcompanyid", "")),
            *(("property_associatedcompanyid", ""), ("properties_associatedcompanyid", "")),
        ),
    ),
    _kind("owners", "owners", "airbyte_owners", "fivetran_owner", key=("id", "owner_id")),
    *(_engagements(kind) for kind in _KINDS),
    _kind("engagements", "fivetran_engagement", key=("id",), columns=("type",)),
    _kind("engagement_companies", "fivetran_engagement_company", key=(), columns=("engagement_id", "company_id")),
    _kind("engagement_contacts", "fivetran_engagement_contact", key=(), columns=("engagement_id", "contact_id")),
    _kind(
        "contact_merges",
        "fivetran_contact_merge_audit",
        "airbyte_contacts_merged_audit",
        key=(),
        columns=("canonical_vid|canonical-vid", "vid_to_merge|vid-to-merge"),
    ),
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
    kinds=_RECORD_KINDS,
)
