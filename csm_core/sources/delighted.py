"""The source system ``delighted``: NPS answers, by files of its exports, landed tables or its API."""

from __future__ import annotations

from collections.abc import Mapping

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
    # An export names its columns for people.
    required=(),
)
