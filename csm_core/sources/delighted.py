"""The source system ``delighted``: NPS answers, by files of its exports, landed tables or its API."""

from __future__ import annotations

from collections.abc import Mapping

from csm_core.sources.delighted_api import SYSTEM, TABLE, DelightedStream, connect, reach
from csm_core.sources.record_kinds import RecordKind, objects
from csm_core.sources.vendor import VendorSource

_RECORDS: Mapping[str, str] = {TABLE: "nps_responses", "people": "nps_responses"}

DELIGHTED = VendorSource(
    name=SYSTEM,
    records=_RECORDS,
    airbyte=_RECORDS,
    needed=(TABLE,),
    reach=lambda source: reach(source.api),
    stream=lambda source: DelightedStream(connect(source.api)),
    # An export has headings of its own in place of the API's names.
    required=(),
    kinds=(
        # Settings name the columns of an answer: its times and its score are read by the model and judged by the gate,
        # which also chooses the latest version.
        RecordKind("responses", (TABLE, f"airbyte_{TABLE}"), key=(), fields=objects("person_properties"), versions=()),
        RecordKind("people", ("people", "airbyte_people"), versions=()),
    ),
)
