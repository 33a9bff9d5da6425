"""A company's folder and a warehouse, as a fixture."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.sources.way_in import WayIn, new_way_in


@pytest.fixture
def way_in(tmp_path: Path) -> Generator[WayIn]:
    with new_way_in(tmp_path) as made:
        yield made
