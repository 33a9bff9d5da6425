"""The three renderers, and text of any length and any characters."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csm_core.health_scorer import CSMHealthScorer
from csm_core.notion.rich_text import clean, option_name, pieces, plain, runs, text_blocks, units
from csm_core.notion_adapter import render_expansion_blocks, render_health_record_blocks, render_qbr_blocks
from csm_core.rubric import RUBRIC
from csm_core.schemas import CSMHealthSignals, ExpansionOpportunity, QBRContent

NOW = datetime(2026, 7, 1, tzinfo=UTC)


def text_of(block) -> str:
    return plain(block[block["type"]]["rich_text"])


def score(**more):
    base = {
        "feature_adoption_rate": 0.5,
        "usage_trend": "stable",
        "invoice_payment_status": "current",
        "seats_utilization_rate": 0.7,
        "stakeholder_engagement": "medium",
    }
    return CSMHealthScorer().score(CSMHealthSignals(**{**base, **more}), "A1")


def test_a_health_record_shows_rag_score_risk_and_every_signal():
    blocks = render_health_record_blocks(score(tam_health_rag="RED"))
    assert blocks[0]["type"] == "heading_2"
    callout = next(block for block in blocks if block["type"] == "callout")["callout"]
    assert (callout["color"], callout["icon"]["emoji"]) == ("orange_background", "🟠")
    items = [text_of(block) for block in blocks if block["type"] == "bulleted_list_item"]
    assert len(items) == len(RUBRIC)
    assert items[0] == "Feature adoption rate: 10 of 20"
    paragraph = text_of(next(block for block in blocks if block["type"] == "paragraph"))
    assert "54.4 of 100" in paragraph
    assert "add up to 64.0" in paragraph
    assert "Churn risk is medium" in paragraph


def test_a_review_has_its_four_sections_and_a_sentence_where_there_is_nothing():
    blocks = render_qbr_blocks(QBRContent(account_id="A", period="Q2 2026", health_summary="Fine.", generated_at=NOW))
    headings = [(block["type"], text_of(block)) for block in blocks if block["type"].startswith("heading")]
    assert headings == [
        ("heading_1", "Account Health Summary"),
        ("heading_2", "ROI & Business Impact"),
        ("heading_2", "Feature Adoption Scorecard"),
        ("heading_2", "Expansion & Next Steps"),
    ]
    assert [block["type"] for block in blocks].count("bulleted_list_item") == 0
    assert [block["type"] for block in blocks].count("paragraph") == 4


def test_a_review_lists_metrics_features_and_steps():
    content = QBRContent(
        account_id="A",
        period="Q2 2026",
        health_summary="Fine.",
        roi_metrics={"Events": 12, "Hours": 1.5, "Other": None},
        feature_adoption_scorecard={"api": 0.5, "chat": {"used": "once"}},
        expansion_next_steps=("Call them.",),
        generated_at=NOW,
    )
    items = [text_of(block) for block in render_qbr_blocks(content) if block["type"] == "bulleted_list_item"]
    assert items == ["Events: 12", "Hours: 1.50", "Other: unknown", "api: 50 %", "chat: used once", "Call them."]


def test_an_opportunity_says_type_confidence_evidence_impact_and_talk_track():
    opportunity = ExpansionOpportunity(
        account_id="A", opportunity_type="module", subject="analytics", evidence="8 of 10 use it.",
        estimated_arr_impact=1234.5, recommended_talk_track="Show it.", confidence="high", created_at=NOW,
    )  # fmt: skip
    said = [text_of(block) for block in render_expansion_blocks(opportunity)]
    assert said[0] == "Module: analytics, confidence high"
    assert {"8 of 10 use it.", "1,234 per year", "Show it."} <= set(said)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=300), st.integers(2, 40))
def test_pieces_lose_nothing_and_cut_no_character(text, most):
    found = list(pieces(text, most))
    assert "".join(found) == text
    assert all(0 < units(piece) <= most for piece in found)


@settings(max_examples=50, deadline=None)
@given(st.text(alphabet="ab😀é\n", min_size=0, max_size=50), st.integers(1, 9000))
def test_any_text_is_kept_in_runs_and_blocks_within_the_limits(text, times):
    long = text * times
    blocks = text_blocks("paragraph", long)
    assert "".join(text_of(block) for block in blocks) == long
    for block in blocks:
        array = block["paragraph"]["rich_text"]
        assert len(array) <= 100
        assert all(units(run["text"]["content"]) <= 2000 for run in array)


def test_control_characters_are_taken_out_and_counted():
    assert clean("a\x00b\x1fc\ud800\n\t") == clean("a\x00b\x1fc\ud800\n\t").__class__("abc\n\t", 3)
    assert runs("\x07") == []


@pytest.mark.parametrize(("text", "name"), [("a,b", "a b"), (" x ", "x"), ("y" * 150, "y" * 100)])
def test_option_names_have_no_commas_and_at_most_100_characters(text, name):
    assert option_name(text) == name
