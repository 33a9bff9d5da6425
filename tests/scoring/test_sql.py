"""The SQL of the score as text: what its results do not show."""

import re

import pytest

from csm_core.rubric import FIELDS, RUBRIC, Bands
from csm_core.scoring.sql import points_sql

KINDS = {field.name: field.kind for field in FIELDS}
BANDED = [signal for signal in RUBRIC if isinstance(signal.rule, Bands)]


@pytest.mark.parametrize("signal", BANDED, ids=lambda signal: signal.name)
def test_an_edge_has_the_type_of_its_input(signal):
    """Otherwise every row would be cast before it is compared."""
    edges = re.findall(rf"when {signal.name} [<>]=? (cast\([\d.]+ as double\)|\d+) then", points_sql(signal))
    assert len(edges) == len(signal.rule.bands)
    assert {edge.isdigit() for edge in edges} == {KINDS[signal.name] == "integer"}
