"""A few days of `python -m tests.history`: what was known stays known, and can be computed again."""

import pytest

from tests.history import problems


@pytest.mark.slow
def test_days_with_changes_are_known_after_a_rebuild_as_on_their_evenings(tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster_home"))
    assert problems(tmp_path, days=3, seed=3, replays=1, whole=False) == []
