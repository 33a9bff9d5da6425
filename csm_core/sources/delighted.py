"""The source system ``delighted``: NPS answers, by files of its exports, landed tables or its API."""

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
    # The headings of an export differ from the names of the API.
    required=(),
    kinds=(
        # Settings name the columns of an answer, so the model reads its times and score and the gate validates them;
        # the gate also chooses the latest version.
        RecordKind("responses", (TABLE, f"airbyte_{TABLE}"), key=(), fields=objects("person_properties"), versions=()),
        RecordKind("people", ("people", "airbyte_people"), versions=()),
    ),
)
