"""Which column holds which input: missing, doubled, misnamed and aliased ones, in frames and files alike."""

import pytest

from csm_core.errors import SignalError
from csm_core.rubric import FIELDS
from csm_core.scoring.input_columns import KEYS, input_columns, key_columns, unused_note

INPUTS = [field.name for field in FIELDS]
REQUIRED = ["account_id", *(field.name for field in FIELDS if field.required)]
OPTIONAL = [field.name for field in FIELDS if not field.required]
MISSPELT = {
    "login_frequency_days": "login_frequency",
    "days_since_last_interaction": "days_since_last_interation",
    "support_sentiment": "suport_sentiment",
    "open_ticket_count": "open_tickets_count",
    "days_to_renewal": "days_to_renewel",
    "nps_score": "nps_scores",
    "escalation_count_90_days": "escalations_count_90_days",
    "tam_health_rag": "tam_heath_rag",
}


def test_every_input_is_found_in_the_order_of_the_rubric():
    assert input_columns(["extra", *reversed(INPUTS), *KEYS], "it") == {name: name for name in INPUTS}
    assert list(input_columns([*reversed(INPUTS), "account_id"], "it")) == INPUTS


def test_optional_inputs_may_be_missing():
    assert list(input_columns(REQUIRED, "it")) == REQUIRED[1:]


@pytest.mark.parametrize("name", REQUIRED)
def test_a_required_column_that_is_missing_is_named(name):
    present = [other for other in (*KEYS[1:], "account_id", *INPUTS) if other != name]
    with pytest.raises(SignalError, match=rf"^signals\.csv: lacks {name}.*; it has tenant_id, ") as caught:
        input_columns(present, "signals.csv:")
    assert caught.value.exit_status == 2


def test_what_a_required_column_may_have_been_called_is_told():
    present = [{"usage_trend": "usage_trent"}.get(name, name) for name in REQUIRED]
    with pytest.raises(SignalError, match=r"lacks usage_trend \(is it 'usage_trent'\?\); it has account_id"):
        input_columns(present, "the frame")
    with pytest.raises(SignalError, match=r"; it has no column$"):
        input_columns([], "the frame")


@pytest.mark.parametrize("name", OPTIONAL)
def test_a_misspelt_optional_column_is_not_taken_for_unknown(name):
    with pytest.raises(
        SignalError, match=rf"^the frame has no {name}, but a similar column '{MISSPELT[name]}'; rename"
    ):
        input_columns([*REQUIRED, MISSPELT[name]], "the frame")
    assert name in input_columns([*REQUIRED, MISSPELT[name], name], "the frame")


def test_a_misspelt_alias_is_told_unless_its_input_is_there():
    with pytest.raises(SignalError, match="has no avg_ticket_sentiment, but a similar column 'avg_tickets_sentiment'"):
        input_columns([*REQUIRED, "avg_tickets_sentiment"], "the frame")
    assert input_columns([*REQUIRED, "support_sentiment", "avg_tickets_sentiment"], "the frame")


def test_other_columns_are_left_alone():
    others = ["score", "rag", "nps_score_points", "days_to_renewal_points", "account_name", "missing_signals", "mrr"]
    assert list(input_columns([*REQUIRED, *others], "the frame")) == REQUIRED[1:]


def test_a_doubled_column_and_an_input_beside_its_alias_are_refused():
    with pytest.raises(SignalError, match="more than once: nps_score, usage_trend"):
        input_columns([*REQUIRED, "usage_trend", "nps_score", "nps_score"], "the frame")
    assert input_columns([*REQUIRED, "avg_ticket_sentiment"], "it")["support_sentiment"] == "avg_ticket_sentiment"
    with pytest.raises(SignalError, match="both support_sentiment and avg_ticket_sentiment"):
        input_columns([*REQUIRED, "avg_ticket_sentiment", "support_sentiment"], "the frame")


def test_names_are_compared_without_regard_to_case_blanks_and_dashes():
    spelt = [name.upper().replace("_", " ") for name in ["account_id", *INPUTS]]
    assert input_columns(spelt, "it") == dict(zip(INPUTS, spelt[1:], strict=True))
    assert key_columns(["Account-ID", "AS OF DATE"]) == {"account_id": "Account-ID", "as_of_date": "AS OF DATE"}
    with pytest.raises(SignalError, match="the columns 'nps_score' and 'NPS Score', which are both read as nps_score"):
        input_columns([*REQUIRED, "nps_score", "NPS Score"], "the frame")


def test_columns_that_are_no_input_are_named():
    assert unused_note([*REQUIRED, "Tenant ID", "support_sentiment"]) == ""
    assert unused_note([*INPUTS, "account_id", "tenant", "x"]) == "columns not used: tenant (is it tenant_id?), x"


def test_the_first_words_of_an_input_are_taken_for_it_if_no_other_begins_with_them():
    assert unused_note([*REQUIRED, "NPS"]) == "columns not used: NPS (is it nps_score?)"
    assert unused_note([*REQUIRED, "days"]) == "columns not used: days"
