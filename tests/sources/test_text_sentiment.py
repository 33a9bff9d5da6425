"""Tickets that nobody rated: their texts are scored by words, once, and only where that is asked for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from csm_core.errors import ConfigError
from csm_core.sources import text_sentiment
from csm_core.sources.settings import ZendeskSettings
from csm_core.sources.zendesk import ZENDESK
from tests.sources.test_stripe import write_lines

ANGRY = "This is terrible, we are really angry and nobody helps us"


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that the library was asked about."""
    texts: list[str] = []
    polarity_scores = SentimentIntensityAnalyzer.polarity_scores
    monkeypatch.setattr(
        SentimentIntensityAnalyzer,
        "polarity_scores",
        lambda self, text: texts.append(text) or polarity_scores(self, text),
    )
    return texts


def load(source_loads: Any, folder: Path, **more: Any) -> list[tuple[object, ...]]:
    source = ZendeskSettings(system="zendesk", path=folder, **more)
    ZENDESK.load(
        source_loads.connection,
        [source],
        loaded_at=source_loads.now,
        folder=folder.parent / "kept",
        log=source_loads.log,
    )
    return source_loads.rows(
        "select _source, record ->> '$.ticket_id', record ->> '$.method', "
        "sign(cast(record ->> '$.compound' as double)) from raw.zendesk__text_sentiments order by all"
    )


def test_texts_are_scored_once_in_batches_as_the_ticket_was_opened(source_loads, tmp_path, scored, monkeypatch):
    monkeypatch.setattr(text_sentiment, "BATCH_TICKETS", 2)
    folder = tmp_path / "zendesk"
    write_lines(
        folder / "tickets" / "1.jsonl",
        {"id": 1, "subject": "Export", "description": ANGRY},
        {"id": 2, "subject": "Great work, thank you, we love it", "description": ""},
        {"id": 3, "subject": None, "description": "How do I add a user?"},
        {"id": 4, "subject": " "},
        {"id": 5, "subject": "long", "description": "x" * 5_000},
    )
    expected = [("zendesk", str(n), "lexicon", sign) for n, sign in ((1, -1), (2, 1), (3, 0), (5, 0))]
    assert load(source_loads, folder, sentiment="lexicon") == expected
    assert scored[0] == f"Export\n{ANGRY}"
    assert max(map(len, scored)) == 1_000
    scored.clear()
    write_lines(folder / "tickets" / "2.jsonl", {"id": 1, "subject": "changed"}, {"id": 6, "subject": "new"})
    assert load(source_loads, folder, sentiment="lexicon") == [*expected, ("zendesk", "6", "lexicon", 0)]
    assert scored == ["new"]


def test_nothing_is_scored_unless_asked_for_and_what_was_stays(source_loads, tmp_path, scored):
    folder = tmp_path / "zendesk"
    write_lines(folder / "tickets.jsonl", {"id": 1, "subject": ANGRY})
    assert load(source_loads, folder) == []
    assert scored == []
    assert load(source_loads, folder, sentiment="lexicon") == load(source_loads, folder)
    assert scored == [ANGRY]


def test_without_the_library_the_error_names_the_extra(source_loads, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vaderSentiment", None)
    folder = tmp_path / "zendesk"
    write_lines(folder / "tickets.jsonl", {"id": 1, "subject": ANGRY})
    source = ZendeskSettings(system="zendesk", path=folder, sentiment="lexicon")
    with pytest.raises(
        ConfigError, match=r"needs the extra `sentiment`, which is not .* Install it with `make setup-server`"
    ):
        ZENDESK.check(source)
    with pytest.raises(ConfigError, match="needs the extra `sentiment`"):
        load(source_loads, folder, sentiment="lexicon")
    assert ZENDESK.check(ZendeskSettings(system="zendesk", path=folder)).endswith(": tickets")
