"""Makes the way in importable for the tests beside it, and a fixture of it."""

from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from tests_sources_way_in import WayIn, new_way_in


@pytest.fixture
def way_in(tmp_path: Path) -> Generator[WayIn]:
    with new_way_in(tmp_path) as made:
        yield made
