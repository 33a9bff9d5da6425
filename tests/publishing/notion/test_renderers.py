"""The three renderers: pure, within every limit of the API, and all of the text that they are given."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csm_core.health_scorer import CSMHealthScorer
from csm_core.notion_adapter import (
    RAG_COLOUR,
    RAG_EMOJI,
    render_expansion_blocks,
    render_health_record_blocks,
    render_qbr_blocks,
)
from csm_core.notion_sandbox.blocks import clean_children
from csm_core.publishing.internal_notes import NEXT_STEPS
from csm_core.publishing.notion.record_details import LastRecord, RecordDetails, Settled, SignalChange
from csm_core.publishing.notion.rich_text import RUN_UNITS, RUNS_PER_ARRAY, plain, units
from csm_core.rubric import RUBRIC, SIGNAL_NAMES
from csm_core.schemas import (
    CSMHealthScore,
    CSMHealthSignals,
    ExpansionOpportunity,
    InternalNote,
    QBRContent,
    UsageComparison,
)
from tests.examples import examples

AT = datetime(2026, 7, 1, tzinfo=UTC)
Block = dict[str, Any]


def score(**changes: Any) -> CSMHealthScore:
    given: dict[str, Any] = {
        "account_id": "A1",
        "score": 83.3,
        "raw_score": 98.0,
        "rag": "GREEN",
        "churn_risk_level": "low",
        "signal_breakdown": {signal.name: float(signal.weight) for signal in RUBRIC},
        "computed_at": AT,
    }
    return CSMHealthScore(**{**given, **changes})


def review(**changes: Any) -> QBRContent:
    given: dict[str, Any] = {
        "account_id": "A1",
        "period": "Q2 2026",
        "health_summary": "The score rose.",
        "generated_at": AT,
    }
    return QBRContent(**{**given, **changes})


def opportunity(**changes: Any) -> ExpansionOpportunity:
    given: dict[str, Any] = {
        "account_id": "A1",
        "opportunity_type": "seats",
        "evidence": "95 of 100 seats are used.",
        "recommended_talk_track": "Offer 20 seats.",
        "confidence": "medium",
        "created_at": AT,
    }
    return ExpansionOpportunity(**{**given, **changes})


def text(block: Block) -> str:
    return plain(block[block["type"]]["rich_text"])


def shape(blocks: list[Block]) -> list[tuple[str, str]]:
    return [(block["type"], text(block)) for block in blocks]


def assert_valid(blocks: list[Block]) -> None:
    """The sandbox's own check of what it takes, and the limits stated here once more."""
    for start in range(0, len(blocks), 100):
        clean_children(blocks[start : start + 100], "children")
    for block in blocks:
        array = block[block["type"]]["rich_text"]
        assert len(array) <= RUNS_PER_ARRAY
        assert all(units(run["text"]["content"]) <= RUN_UNITS for run in array)


# -- health records


@pytest.mark.parametrize("rag", ["GREEN", "AMBER", "RED"])
def test_a_health_record_shows_the_rag_in_a_callout(rag: str) -> None:
    blocks = render_health_record_blocks(score(rag=rag))
    assert_valid(blocks)
    assert blocks[0]["type"].startswith("heading_")
    callout = blocks[1]
    assert callout["type"] == "callout"
    assert callout["callout"]["color"] == RAG_COLOUR[rag]
    assert callout["callout"]["icon"] == {"type": "emoji", "emoji": RAG_EMOJI[rag]}
    assert text(callout).startswith(f"{rag}: 83.3")


def test_a_health_record_says_score_risk_and_why_in_a_paragraph() -> None:
    blocks = render_health_record_blocks(score(churn_risk_level="critical", churn_triggered_by="both", rag="RED"))
    (paragraph,) = [text(block) for block in blocks if block["type"] == "paragraph"]
    for said in (
        "83.3 of 100",
        "add up to 98.0",
        "Churn risk is critical",
        "Churn risk is critical: contract renewal near and usage declining.",
    ):
        assert said in paragraph


def bold(block: Block) -> str:
    return "".join(
        run["text"]["content"] for run in block[block["type"]]["rich_text"] if run.get("annotations", {}).get("bold")
    )


def test_what_catches_the_eye_is_bold() -> None:
    record = render_health_record_blocks(score(rag="RED", churn_risk_level="critical"))
    assert bold(record[1]) == "RED: 83.3 of 100."
    assert text(record[1]).endswith("  Needs attention.")
    labels = [bold(block) for block in record if block["type"] == "bulleted_list_item"]
    assert labels[:2] == ["Feature adoption", "Usage trend"]
    assert "NPS" in labels
    content = review(roi_metrics={"Seats": 5}, feature_adoption_scorecard={"api": 0.5}, expansion_next_steps=["Call."])
    items = [block for block in render_qbr_blocks(content) if block["type"] == "bulleted_list_item"]
    assert [bold(block) for block in items] == ["Period", "Seats", "api", ""]
    assert bold(render_expansion_blocks(opportunity(opportunity_type="module", subject="reports"))[0]) == (
        "Module: reports"
    )


def test_points_are_told_to_the_tenth() -> None:
    given = {signal.name: float(signal.weight) for signal in RUBRIC} | {"feature_adoption_rate": 20 / 3}
    items = [text(one) for one in render_health_record_blocks(score(signal_breakdown=given))[4:]]
    assert items[:2] == ["Feature adoption: 6.7 of 20", "Usage trend: 15 of 15"]


def test_a_health_record_says_where_most_points_are_lost() -> None:
    def said(**lost: float) -> str:
        given = {signal.name: signal.weight - lost.get(signal.name, 0.0) for signal in RUBRIC}
        return text(render_health_record_blocks(score(signal_breakdown=given))[2])

    assert "losses" not in said(nps_score=0.9)
    assert said(usage_trend=5).endswith("Largest point losses: usage trend (5).")
    many = said(usage_trend=5, invoice_payment_status=10, feature_adoption_rate=7.25, nps_score=3, days_to_renewal=0.5)
    assert many.endswith("losses: invoice payments (10), feature adoption (7.25) and usage trend (5).")


def test_a_health_record_has_every_signal_against_its_weight() -> None:
    given = {name: float(number) for number, name in enumerate(SIGNAL_NAMES)}
    items = [
        text(block)
        for block in render_health_record_blocks(score(signal_breakdown=given))
        if block["type"] == "bulleted_list_item"
    ]
    assert len(items) == len(RUBRIC)
    for number, (signal, item) in enumerate(zip(RUBRIC, items, strict=True)):
        assert item.endswith(f": {number} of {signal.weight}")


def test_a_health_record_has_steps_for_up_to_three_signals_that_lost_the_largest_shares() -> None:
    def steps(**lost: float) -> list[str]:
        given = {signal.name: signal.weight - lost.get(signal.name, 0.0) for signal in RUBRIC}
        blocks = render_health_record_blocks(score(signal_breakdown=given))
        return [text(block) for block in blocks if block["type"] == "numbered_list_item"]

    assert steps() == []
    assert steps(usage_trend=1, nps_score=1, invoice_payment_status=10, seats_utilization_rate=2) == [
        NEXT_STEPS[name] for name in ("invoice_payment_status", "seats_utilization_rate", "nps_score")
    ]


def test_a_health_record_says_why_it_was_written_and_that_a_band_is_not_settled() -> None:
    details = RecordDetails(
        reason="The churn risk became critical on 2026-06-30.",
        settled=Settled("AMBER", "critical"),
        last=LastRecord(date(2026, 6, 1), 83.3, None, "low", Settled("AMBER", "medium")),
        moved=(SignalChange("usage_trend", 15.0, 8.0),),
        facts={"nps_score": "mean of 2 <b>answers</b>\x00"},
    )
    blocks = render_health_record_blocks(score(rag="GREEN", churn_risk_level="critical"), details=details)
    assert_valid(blocks)
    said = [text(block) for block in blocks]
    assert said[2] == "Why this record: The churn risk became critical on 2026-06-30."
    assert said[4:9] == [
        "Since the record of 2026-06-01",
        "Score: 83.3, unchanged",
        "Band: unknown (settled: AMBER) → GREEN (settled: AMBER)",
        "Churn risk: low (settled: medium) → critical",
        "Usage trend: 15 → 8 of 15 points",
    ]
    assert "NPS: 3 of 3. Mean of 2 <b>answers</b>." in said
    assert "Time to renewal: 10 of 10. No data." in said


def test_a_capped_score_of_the_worked_examples() -> None:
    signals = CSMHealthSignals(
        feature_adoption_rate=0.5,
        usage_trend="stable",
        invoice_payment_status="current",
        seats_utilization_rate=0.7,
        stakeholder_engagement="medium",
        tam_health_rag="RED",
    )
    blocks = render_health_record_blocks(CSMHealthScorer().score(signals, "A1"))
    said = [text(block) for block in blocks]
    assert said[1].startswith("AMBER: 54.4 of 100")
    assert (
        "54.4 of 100. The points add up to 64.0; the technical account manager's assessment caps the score." in said[2]
    )
    assert "Feature adoption: 10 of 20" in said


# -- reviews


def test_a_review_has_four_sections_each_with_words_and_a_list() -> None:
    blocks = render_qbr_blocks(
        review(
            health_rag="GREEN",
            roi_metrics={"Active users": 1200, "Adoption": 0.525, "Known": None, "Renewed": True, "Note": "good"},
            feature_adoption_scorecard={"dashboards": 0.75, "reports": {"used": "yes", "users": 12}},
            expansion_next_steps=["Call them.", "Show reports."],
        )
    )
    assert_valid(blocks)
    found = shape(blocks)
    headings = [one for one in found if one[0].startswith("heading")]
    assert headings == [
        ("heading_1", "Account Health Summary"),
        ("heading_2", "ROI & Business Impact"),
        ("heading_2", "Feature Adoption Scorecard"),
        ("heading_2", "Expansion & Next Steps"),
    ]
    for heading in headings:
        position = found.index(heading)
        assert [kind for kind, _ in found[position + 1 : position + 3]] == ["paragraph", "bulleted_list_item"]
    items = [said for kind, said in found if kind == "bulleted_list_item"]
    assert items == [
        "Period: Q2 2026",
        *("Active users: 1,200", "Adoption: 0.53", "Known: unknown", "Renewed: yes", "Note: good"),
        *("dashboards: 75 %", "reports: used yes, users 12"),
        *("Call them.", "Show reports."),
    ]


def test_a_review_of_nothing_says_so_in_sentences() -> None:
    found = shape(render_qbr_blocks(review(health_summary="")))
    assert not [one for one in found if one[0] == "bulleted_list_item"]
    after = {said: found[number + 1] for number, (kind, said) in enumerate(found) if kind.startswith("heading")}
    assert len(after) == 4
    assert all(kind == "paragraph" and said.endswith(".") for kind, said in after.values())
    assert [kind for kind, _ in found].count("paragraph") == 4


def test_a_review_compares_periods_in_a_table_after_the_other_metrics() -> None:
    rows = [
        UsageComparison(metric="Actions", this_period="1,234", previous_period="1,000", change="+234 (+23 %)"),
        UsageComparison(metric="Hours saved", this_period="12.5", previous_period="–", change="–"),
    ]
    blocks = render_qbr_blocks(review(usage_comparison=rows, roi_metrics={"Actions": "1,234", "Seats": 5}))
    clean_children(blocks, "children")
    types = [block["type"] for block in blocks]
    position = types.index("table")
    assert types[position - 2 : position] == ["paragraph", "bulleted_list_item"]
    assert text(blocks[position - 1]) == "Seats: 5"
    cells = [[plain(cell) for cell in row["table_row"]["cells"]] for row in blocks[position]["table"]["children"]]
    assert cells == [
        ["Metric", "This period", "Previous period", "Change"],
        ["Actions", "1,234", "1,000", "+234 (+23 %)"],
        ["Hours saved", "12.5", "–", "–"],
    ]


def test_internal_notes_are_in_a_toggle_at_the_end() -> None:
    notes = [InternalNote(topic="Churn risk", text="high")]
    blocks = render_qbr_blocks(review(health_rag="RED", internal_notes=notes))
    clean_children(blocks, "children")
    assert (blocks[-1]["type"], text(blocks[-1])) == ("toggle", "Internal notes: remove before sharing")
    assert shape(blocks[-1]["toggle"]["children"]) == [("bulleted_list_item", "Churn risk: high")]
    assert "RED" not in str(blocks)


@pytest.mark.parametrize("count", [100, 101, 250])
def test_notes_that_exceed_one_request_are_in_several_toggles(count: int) -> None:
    notes = [InternalNote(topic=f"Note {number}", text="x") for number in range(count)]
    toggles = [block for block in render_qbr_blocks(review(internal_notes=notes)) if block["type"] == "toggle"]
    clean_children(toggles, "children")
    listed = [text(child) for block in toggles for child in block["toggle"]["children"]]
    assert listed == [f"Note {number}: x" for number in range(count)]
    assert len({text(block) for block in toggles}) == len(toggles)


# -- opportunities


@pytest.mark.parametrize(
    ("impact", "currency", "said"),
    [
        (None, None, "No estimate available."),
        (12000.4, None, "12,000 per year"),
        (12000.4, "EUR", "12,000 EUR per year"),
        (0.0, "EUR", "0 EUR per year"),
    ],
)
def test_an_opportunity_shows_type_evidence_impact_and_talk_track(
    impact: float | None, currency: str | None, said: str
) -> None:
    blocks = render_expansion_blocks(opportunity(estimated_arr_impact=impact), currency=currency)
    assert_valid(blocks)
    assert shape(blocks) == [
        ("callout", "Seats, confidence medium"),
        ("heading_2", "Evidence"),
        ("paragraph", "95 of 100 seats are used."),
        ("heading_2", "Estimated ARR impact"),
        ("paragraph", said),
        ("heading_2", "Talk track"),
        ("paragraph", "Offer 20 seats."),
    ]


def test_an_opportunity_names_its_subject() -> None:
    blocks = render_expansion_blocks(opportunity(opportunity_type="module", subject="reports", confidence="high"))
    assert text(blocks[0]) == "Module: reports, confidence high"


# -- any text

WORDS = st.text(alphabet=st.characters(exclude_categories=["Cc", "Cs"]), max_size=60)


@settings(max_examples=examples(60), deadline=None)
@given(WORDS, st.dictionaries(WORDS, WORDS, max_size=4), st.lists(WORDS, max_size=4), st.integers(0, 30))
def test_a_review_loses_no_text_and_is_always_valid(
    summary: str, metrics: dict[str, str], steps: list[str], times: int
) -> None:
    long = summary + "😀漢" * (times * 700)
    content = review(health_summary=long, roi_metrics=metrics, expansion_next_steps=steps)
    blocks = render_qbr_blocks(content)
    assert_valid(blocks)
    everything = "".join(text(block) for block in blocks)
    for part in (long, *steps, *(f"{name}: {value}" for name, value in metrics.items())):
        assert part in everything


def test_renderers_do_not_change_what_they_are_given_and_repeat_themselves() -> None:
    content = review(roi_metrics={"a": 1}, expansion_next_steps=["x"])
    before = content.model_dump()
    assert render_qbr_blocks(content) == render_qbr_blocks(content)
    assert content.model_dump() == before
