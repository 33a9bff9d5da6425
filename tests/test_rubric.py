"""The rubric as data: complete, consistent, stated once, and rendered for the documentation."""

import functools
import re
from dataclasses import FrozenInstanceError

import pytest

from csm_core import rubric
from csm_core.config import PROJECT_ROOT, Policy
from csm_core.rubric import CHURN_RULES, FIELDS, RUBRIC, SIGNAL_NAMES, Bands, Levels, Rate
from csm_core.thresholds import Thresholds


def test_the_weights_of_the_signals_sum_to_100():
    assert [signal.weight for signal in RUBRIC] == [20, 15, 10, 10, 10, 10, 10, 5, 5, 3, 2]
    assert sum(signal.weight for signal in RUBRIC) == 100
    assert len(RUBRIC) == len(set(SIGNAL_NAMES))


def test_one_signal_is_a_rate():
    rates = [signal.name for signal in RUBRIC if isinstance(signal.rule, Rate)]
    message = "the raw score has one part with a fraction (raw_sum, explain); use Bands or Levels for any other signal"
    assert rates == ["feature_adoption_rate"], message


@pytest.mark.parametrize("signal", RUBRIC, ids=lambda signal: signal.name)
def test_the_best_that_a_signal_can_give_is_its_weight(signal):
    match signal.rule:
        case Rate():
            (field,) = (field for field in FIELDS if field.name == signal.name)
            assert (field.minimum, field.maximum) == (0.0, 1.0)
        case Levels(points):
            assert max(given for _, given in points) == signal.weight
            (field,) = (field for field in FIELDS if field.name == signal.name)
            assert field.levels == tuple(level for level, _ in points)
        case Bands(bands, otherwise, null):
            assert max([otherwise, *(band.points for band in bands)]) == signal.weight
            (field,) = (field for field in FIELDS if field.name == signal.name)
            assert field.nullable == (null is not None)


def test_every_pair_of_triggers_has_a_rule_for_every_band_that_can_meet_it():
    assert {(rule.contract, rule.behavioural) for rule in CHURN_RULES} == {
        (one, two) for one in (True, False) for two in (True, False)
    }
    for rule in CHURN_RULES:
        assert {rag for rag, _ in rule.risks} == ({"RED", "AMBER"} if rule.contract else {"RED", "AMBER", "GREEN"})


def test_the_documentation_tables_state_every_signal_and_number():
    table = rubric.markdown_table().splitlines()
    assert table[0] == "| signal | weight | points |"
    assert len(table) == 2 + len(RUBRIC)
    assert "| `feature_adoption_rate` | 20 | 20 × rate |" in table
    assert "| `login_frequency_days` | 10 | unknown 5; ≤7 → 10; ≤30 → 7; ≤60 → 4; else 0 |" in table
    assert "| `days_to_renewal` | 10 | unknown 7; >180 → 10; >90 → 8; >60 → 6; >30 → 3; else 1 |" in table
    assert "| `seats_utilization_rate` | 5 | >1 → 4; ≥0.8 → 5; ≥0.5 → 3; else 1 |" in table
    (sentiment,) = (line for line in table if "support_sentiment" in line)
    assert "positive 10, neutral 7, negative 3, critical 0; minus `open_ticket_count`, at most 5" in sentiment
    churn = rubric.churn_markdown_table()
    assert "| yes | yes | `both` | critical if RED or AMBER |" in churn
    assert "| yes | no | `contract_proximity` | critical if RED, high if AMBER |" in churn
    assert "| no | no | null | medium if RED or AMBER, low if GREEN |" in churn
    thresholds = rubric.thresholds_markdown()
    for number in ("0.85", "0.95", "70", "40", "60", "30"):
        assert re.search(rf"\b{re.escape(number)}\b", thresholds)


def test_weights_are_offered_to_sql_models():
    assert rubric.weight_parameters()["usage_trend_weight"] == 15
    assert sum(rubric.weight_parameters().values()) == 100


def test_default_thresholds_are_the_same_wherever_they_are_defaults():
    for policy in (Thresholds(), Policy()):
        assert (policy.green_threshold, policy.amber_threshold, policy.churn_window_days) == (70.0, 40.0, 60)


NUMBERS = "|".join(re.escape(f"{factor:g}") for _, factor in rubric.TAM_CAPS)
DEFAULTS = {
    "green": rubric.DEFAULT_GREEN_THRESHOLD,
    "amber": rubric.DEFAULT_AMBER_THRESHOLD,
    "churn.?window": rubric.DEFAULT_CHURN_WINDOW_DAYS,
}
# A cap; a signal with its weight or points; a band's name with the number where it begins by default.
STATED = [
    rf"(?<![\d.])({NUMBERS})(?![\d.])",
    *(rf"\b{signal.name}(_points|_weight)?\b`?\W{{1,4}}({signal.weight})(\.0)?\b" for signal in RUBRIC),
    *(rf"(?i)\b{name}(_\w+)?\b[^\n\d]{{0,30}}\b{number:g}(\.0)?\b" for name, number in DEFAULTS.items()),
    *(rf"(?i)\b{number:g}(\.0)?(::\w+)? as {name}" for name, number in DEFAULTS.items()),
]
GENERATED = re.compile(r"<!-- generated: (\w+) -->.*?<!-- end: \1 -->", re.DOTALL)


@functools.cache
def repository_texts():
    """What people and programs read of the project, but for the tests and the rubric itself: path → text."""
    found = {}
    for folder in ("sql", "csm_core", "assets", "pipelines", "docs", "examples", "benchmarks", "."):
        pattern = "*" if folder == "." else "**/*"
        for path in sorted((PROJECT_ROOT / folder).glob(pattern)):
            if path.suffix in (".sql", ".py", ".yml", ".yaml", ".md") and path.name != "rubric.py":
                found[path] = GENERATED.sub("", path.read_text(encoding="utf-8"))
    return found


def test_no_weight_edge_or_cap_stands_anywhere_but_in_the_rubric():
    found = [
        f"{path.relative_to(PROJECT_ROOT)}: {match.group(0)!r}"
        for path, text in repository_texts().items()
        for pattern in STATED
        for match in re.finditer(pattern, text)
    ]
    assert not found


@pytest.mark.parametrize(
    "text",
    [
        "score * 0.85",
        "green_threshold: float = Field(default=70.0)",
        "40.0::double as amber_threshold",
        "GREEN from 70, AMBER",
        "amber: 40",
        "`churn_window_days` (60)",
        "usage_trend_weight = 15",
    ],
)
def test_a_number_that_is_stated_again_would_be_found(text):
    assert any(re.search(pattern, text) for pattern in STATED)


def test_bands_of_points_are_not_written_out_in_sql():
    # A case that gives a signal's points, such as "when login_frequency_days <= 7 then 10".
    for signal in RUBRIC:
        written = re.compile(rf"when \w*\.?{signal.name} (<=|>=|>|<|=|is) [^\n]{{1,30}} then (cast\()?\d")
        for path, text in repository_texts().items():
            assert not written.search(text), (path, signal.name)


def test_the_inputs_have_the_ranges_and_defaults_of_the_contract():
    whole = 2**63 - 1
    assert {field.name: (field.kind, field.minimum, field.maximum) for field in FIELDS if not field.levels} == {
        "feature_adoption_rate": ("rate", 0.0, 1.0),
        "login_frequency_days": ("integer", 0, whole),
        "days_since_last_interaction": ("integer", 0, whole),
        "open_ticket_count": ("integer", 0, whole),
        "days_to_renewal": ("integer", -whole, whole),
        "seats_utilization_rate": ("rate", 0.0, 2.0),
        "nps_score": ("integer", 0, 10),
        "escalation_count_90_days": ("integer", 0, whole),
    }
    assert {field.name for field in FIELDS if field.required} == {
        *("feature_adoption_rate", "usage_trend", "invoice_payment_status"),
        *("seats_utilization_rate", "stakeholder_engagement"),
    }
    assert {field.name: field.default for field in FIELDS if field.default is not None} == {
        "support_sentiment": "neutral",
        "open_ticket_count": 0,
        "escalation_count_90_days": 0,
    }


@pytest.mark.parametrize(
    "stated", [RUBRIC[0], *(signal.rule for signal in RUBRIC[:3]), RUBRIC[2].rule.bands[0], RUBRIC[5].deduction]
)
def test_what_the_rubric_states_cannot_be_changed_by_who_reads_it(stated):
    for part in (stated, FIELDS[0], CHURN_RULES[0], Thresholds()):
        with pytest.raises(FrozenInstanceError):
            part.weight = 1
