"""The source system ``delighted``: NPS responses from exported files, landed tables or its API."""

from __future__ import annotations

from collections.abc import Mapping

from csm_core.ingest.record_kinds import RecordKind, objects
from csm_core.sources.delighted_api import SYSTEM, TABLE, DelightedStream, connect, reach
from csm_core.sources.vendor import VendorSource

_RECORDS: Mapping[str, str] = {TABLE: "nps_responses", "people": "nps_responses"}

DELIGHTED = VendorSource(
    name=SYSTEM,
    records=_RECORDS,
    airbyte=_RECORDS,
    needed=(TABLE,),
    reach=lambda source: reach(source.api),
    stream=lambda source: DelightedStream(connect(source.api)),
    # The column names of an export differ from the field names of the API.
    required=(),
    kinds=(
        # The settings name the columns of a response, so the model reads its times and score. The gate validates them
        # and chooses the latest version.
        RecordKind(
            "responses",
            (TABLE, f"airbyte_{TABLE}"),
            key=(),
            fields=objects("person_properties"),
            versions=(),
            # A person may be expanded, with the address that identifies it in the account map.
            customers=(("person.email", ""), ("person", "person/")),
        ),
        RecordKind("people", ("people", "airbyte_people"), versions=(), customers=(("id", "person/"),)),
    ),
)
