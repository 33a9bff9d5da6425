"""Runs killed at random instants and run again, as if undisturbed; a hundred of them by ``python -m tests.crash``."""

import pytest

from tests.crash.kills import COMMANDS, strike


def kill(folder, times, names, shown_at_the_end):
    struck = strike(folder, times, seed=times, names=names)
    shown_at_the_end.append(struck.text())
    assert struck.kills == times
    assert struck.differences == []
    assert struck.leftovers == []


def test_a_run_of_a_day_killed_and_run_again(tmp_path, shown_at_the_end):
    kill(tmp_path, 1, ["day"], shown_at_the_end)


@pytest.mark.slow
def test_runs_of_every_kind_killed_and_run_again(tmp_path, shown_at_the_end):
    kill(tmp_path, 15, COMMANDS, shown_at_the_end)
