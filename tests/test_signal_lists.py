"""Every list of the signals has all of them: in Python, in SQL, in the ymls, in the documentation and in the tests.

For a new signal, follow the steps in CONTRIBUTING.md, "Add a signal"; a message here names the file and what it lacks.
"""

import math
import re
from collections import Counter
from typing import Any

import pytest
from pydantic import ValidationError

from csm_core.config import PROJECT_ROOT
from csm_core.display_names import LEVELS, OTHER_INPUTS, SIGNALS, TRIGGERS, UNITS
from csm_core.publishing.internal_notes import NEXT_STEPS
from csm_core.rubric import CHURN_TRIGGERS, FIELDS, SIGNAL_NAMES, Field
from csm_core.schemas import CSMHealthSignals
from tests import scoring_cases

INPUTS = [field.name for field in FIELDS]
POINTS = [f"{name}_points" for name in SIGNAL_NAMES]
# Without escalations an account has none, so the signal always has a value.
NEVER_MISSING = {"escalation_count_90_days"}
MISSING = [name for name in SIGNAL_NAMES if name not in NEVER_MISSING]

# file → what it must contain, as whole words.
PLACES: dict[str, list[str]] = {
    "sql/marts/csm_health_signals.sql": [
        *INPUTS,
        *(f"'{name}' end" for name in MISSING),
        *(f"${name}_weight" for name in MISSING),
    ],
    "sql/marts/csm_health_signals.yml": [f"{name}:" for name in INPUTS],
    "sql/marts/csm_health_scores.yml": [f"{name}:" for name in POINTS],
    "sql/marts/csm_health_last.sql": [
        *(f"signals.{name}" for name in INPUTS),
        *(f"scores.{name}" for name in POINTS),
    ],
    "sql/marts/csm_health_last.yml": [f"{name}:" for name in (*INPUTS, *POINTS)],
    "sql/marts/csm_health_current.sql": [*INPUTS, *POINTS],
    "sql/marts/csm_health_current.yml": [f"{name}:" for name in (*INPUTS, *POINTS)],
    "sql/tables/csm_health_superseded.yml": [f"{name}:" for name in (*INPUTS, *POINTS)],
    "sql/marts/csm_rag_transitions.sql": [
        *(f"today.{name}" for name in POINTS),
        *(f"previous.{name}" for name in POINTS),
        *(f"'{name}'" for name in SIGNAL_NAMES),
    ],
    "sql/marts/csm_review_signals.sql": [
        *POINTS,
        *(f"'{name}'" for name in SIGNAL_NAMES),
        *(f"${name}_weight" for name in SIGNAL_NAMES),
    ],
    "sql/marts/csm_signal_points.sql": [
        *(f"'{name}' as signal" for name in SIGNAL_NAMES),
        *(f"${name}_weight" for name in SIGNAL_NAMES),
        *(f"facts.{name}" for name in SIGNAL_NAMES),
    ],
    "sql/intermediate/int_signal_facts.sql": [*(f"as {name}" for name in SIGNAL_NAMES)],
    "sql/intermediate/int_signal_facts.yml": [f"{name}:" for name in SIGNAL_NAMES],
    "docs/signals.md": [f"| `{name}` |" for name in INPUTS],
    "tests/golden/oracle.py": [f'"{name}"' for name in SIGNAL_NAMES],
}
# These list the signals several times, each time all of them.
REPEATED = [
    "sql/marts/csm_health_last.sql",
    "sql/marts/csm_health_current.sql",
    "sql/marts/csm_rag_transitions.sql",
    "sql/marts/csm_review_signals.sql",
]


@pytest.mark.parametrize("place", PLACES)
def test_a_file_that_lists_the_signals_has_all_of_them(place: str) -> None:
    text = (PROJECT_ROOT / place).read_text(encoding="utf-8")
    lacking = [token for token in PLACES[place] if not re.search(rf"(?<!\w){re.escape(token)}(?!\w)", text)]
    assert not lacking, f"{place} lacks {', '.join(lacking)}: add what it has for the other signals"


@pytest.mark.parametrize("place", REPEATED)
def test_a_signal_is_in_every_list_of_a_model(place: str) -> None:
    text = re.sub(r"--.*", "", (PROJECT_ROOT / place).read_text(encoding="utf-8"))
    words = Counter(re.findall(r"\w+", text))
    for names in (SIGNAL_NAMES, POINTS):
        most = max(words[name] for name in names)
        fewer = {name: words[name] for name in names if words[name] < most}
        assert not fewer, f"{place} has other signals {most} times, and {fewer}: a list lacks them"


@pytest.mark.parametrize(
    ("where", "listed"),
    [
        ("csm_core/display_names.py: SIGNALS", SIGNALS),
        ("csm_core/publishing/internal_notes.py: NEXT_STEPS", NEXT_STEPS),
    ],
    ids=["SIGNALS", "NEXT_STEPS"],
)
def test_a_signal_has_its_texts(where: str, listed: dict[str, str]) -> None:
    assert list(listed) == list(SIGNAL_NAMES), f"{where} must have the signals of RUBRIC, in its order"
    assert all(text == text.strip() != "" for text in listed.values())


def test_every_input_level_and_trigger_has_one_display_name() -> None:
    assert {*SIGNALS, *OTHER_INPUTS} == set(INPUTS), "csm_core/display_names.py must have every input once"
    levels = {field.name: list(field.levels) for field in FIELDS if field.levels}
    assert {name: list(named) for name, named in LEVELS.items()} == levels, "csm_core/display_names.py: LEVELS"
    assert list(TRIGGERS) == list(CHURN_TRIGGERS), "csm_core/display_names.py: TRIGGERS"
    assert set(UNITS) <= set(INPUTS)
    for names in (SIGNALS | OTHER_INPUTS, TRIGGERS, *LEVELS.values()):
        assert len(set(names.values())) == len(names), "two display names are the same"
        assert not any("_" in text or text != text.strip() for text in names.values())


@pytest.mark.parametrize("name", ["BEST", "WORST", "MIDDLE", "BOUNDARIES"])
def test_the_cases_of_the_scorer_have_every_input(name: str) -> None:
    assert list(getattr(scoring_cases, name)) == INPUTS, (
        f"tests/scoring_cases.py: {name} must have the inputs of FIELDS"
    )


def test_the_model_of_the_signals_has_the_inputs_of_the_rubric() -> None:
    message = (
        "CSMHealthSignals in csm_core/schemas.py must have the inputs of FIELDS in csm_core/rubric.py, in its order"
    )
    assert list(CSMHealthSignals.model_fields) == INPUTS, message


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_an_input_is_the_same_in_the_model_and_in_the_rubric(field: Field) -> None:
    differs = f"{field.name} differs between csm_core/schemas.py: CSMHealthSignals and csm_core/rubric.py: FIELDS"
    stated = CSMHealthSignals.model_fields[field.name]
    assert stated.is_required() == field.required, differs
    assert field.required or stated.default == field.default, differs
    assert accepted(field.name, None) == field.nullable, differs
    if field.levels:
        schema = CSMHealthSignals.model_json_schema()["properties"][field.name]
        levels = {level for choice in schema.get("anyOf", [schema]) for level in choice.get("enum", ())}
        assert levels == set(field.levels), differs
        return
    if field.kind == "rate":
        outside = [math.nextafter(field.minimum, -math.inf), math.nextafter(field.maximum, math.inf)]
    else:
        outside = [field.minimum - 1, field.maximum + 1]
    assert all(accepted(field.name, value) for value in (field.minimum, field.maximum)), differs
    assert not any(accepted(field.name, value) for value in outside), differs
    assert accepted(field.name, 0.5) == (field.kind == "rate"), differs


def accepted(name: str, value: Any) -> bool:
    try:
        CSMHealthSignals.model_validate({**scoring_cases.BEST, name: value})
    except ValidationError:
        return False
    return True
