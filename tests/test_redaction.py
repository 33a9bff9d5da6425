"""A text is only searched for secrets where the environment has one."""

from hypothesis import given
from hypothesis import strategies as st

from csm_core.redaction import anything_to_hide, hide_variable, without_secrets

NAMES = st.sampled_from(["HOME", "NOTION_TOKEN", "db_password", "My_Api_Key", "PATH", "SHORT_SECRET", "WEBHOOK_URL"])


@given(st.dictionaries(NAMES, st.text(max_size=12), max_size=4), st.data())
def test_where_there_is_nothing_to_hide_no_text_changes(environment, data):
    text = data.draw(st.text() | st.sampled_from([*environment.values(), ""]))
    assert anything_to_hide(environment) or without_secrets(text, environment) == text


def test_a_secret_is_found_whatever_the_case_of_its_name():
    assert anything_to_hide({"db_password": "correct horse"})
    assert without_secrets("it is correct horse", {"db_password": "correct horse"}) == "it is (hidden)"


def test_a_variable_that_is_named_later_is_hidden_from_then_on():
    environment = {"ADDRESS_OF_THE_TEST": "postgres://inner"}
    assert not anything_to_hide(environment)
    hide_variable("ADDRESS_OF_THE_TEST")
    assert anything_to_hide(environment)
    assert "inner" not in without_secrets("at postgres://inner", environment)
