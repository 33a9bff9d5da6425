"""A short run of ``python -m tests.attack``: no traceback, no loss, no leak."""

from __future__ import annotations

from tests.attack.mutations import attack


def test_mutated_configurations_arguments_and_records_end_in_messages(tmp_path):
    found = attack(tmp_path, 60, seed=7)
    assert (found.findings, found.losses) == ([], [])
    assert sum(found.tried.values()) == 60
