"""The states of alerts: what an independent description of the rules says, day by day."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csm_core.errors import InputError
from csm_core.publishing.alerts.states import days_to_evaluate, evaluate_day, load_conditions, take_due
from csm_core.publishing.alerts.tables import LIVE
from csm_core.warehouse.alert_settings import AlertRule
from tests.examples import examples
from tests.publishing.alerts.made_up import NOW, day, fill


@dataclass
class Oracle:
    """One rule on one account, one day after another."""

    rule: AlertRule
    state: str | None = None
    run: list[tuple[date, bool]] = field(default_factory=list)
    fired: date | None = None
    told: date | None = None
    events: list[tuple[date, str | None, str]] = field(default_factory=list)

    def see(self, today: date, holds: bool) -> None:
        if self.run and self.run[-1][1] != holds:
            self.run = []
        self.run.append((today, holds))
        lasted = (today - self.run[0][0]).days + 1
        before = self.state
        if holds:
            enough = lasted >= self.rule.for_days or before == "firing"
            self.state = "firing" if enough else "pending"
        elif before == "firing" and lasted < self.rule.clear_days:
            self.state = "firing"
        elif before is not None:
            self.state = "resolved"
        if self.state == "firing" and before != "firing":
            self.fired = today
        if self.state != before:
            self.events.append((today, before, str(self.state)))

    def due(self, today: date) -> str | None:
        kind = None
        if self.state == "resolved" and self.told:
            kind, self.told = "resolved", None
        elif self.state == "firing" and self.run[-1][1]:
            if self.told is None or (self.fired and self.told < self.fired):
                kind, self.told = "fired", today
            elif (today - max(self.told, self.run[0][0])).days >= self.rule.repeat_days:
                kind, self.told = "reminder", today
        return kind


def days_of(draw_gaps: list[int]) -> list[date]:
    numbers, at = [], 0
    for gap in draw_gaps:
        numbers.append(at)
        at += gap
    return [day(number) for number in numbers]


RULES = st.tuples(st.integers(1, 4), st.integers(2, 4), st.integers(1, 6))
# Two conditions that are independent of each other, by one score.
SCORES = {(False, False): 60.0, (True, False): 40.0, (False, True): 90.0, (True, True): 10.0}


@settings(max_examples=examples(40))
@given(
    gaps=st.lists(st.sampled_from([1, 1, 1, 1, 2, 5]), min_size=4, max_size=16),
    first=RULES,
    second=RULES,
    data=st.data(),
)
def test_states_events_and_messages_are_those_of_the_oracle(gaps, first, second, data):
    rules = [
        AlertRule(name="a", when="score < 50", for_days=first[0], clear_days=first[1], repeat_days=first[2]),
        AlertRule(name="b", when="score in (10, 90)", for_days=second[0], clear_days=second[1], repeat_days=second[2]),
    ]
    days = days_of(gaps)
    accounts = ("A1", "B2")
    holds = {(account, one): data.draw(st.tuples(st.booleans(), st.booleans())) for account in accounts for one in days}
    # An account may be no customer on a day, which is as if no condition held.
    away = {key for key in holds if data.draw(st.integers(0, 9)) == 0}
    # Only on these days a digest is sent, such as after a run of several days.
    sent = {one for one in days if data.draw(st.booleans())}
    oracles = {(rule.name, account): Oracle(rule) for rule in rules for account in accounts}
    with duckdb.connect() as connection:
        scores = [(*key, SCORES[value]) for key, value in holds.items() if key not in away]
        fill(connection, [*scores, *(("Z", one, 60.0) for one in days)])
        assert days_to_evaluate(connection, LIVE, days[0], days[-1]) == days
        load_conditions(connection, rules, days[0], days[-1])
        for today in days:
            evaluate_day(connection, LIVE, today, NOW)
            for (name, account), oracle in oracles.items():
                held = holds[account, today][name == "b"] and (account, today) not in away
                if held or oracle.state is not None:
                    oracle.see(today, held)
                elif oracle.run:
                    oracle.run = []
            if today in sent:
                expected = {key: kind for key, oracle in oracles.items() if (kind := oracle.due(today))}
                due = {(one.rule, one.account_id): one.kind for one in take_due(connection, LIVE, today)}
                assert due == expected
                assert take_due(connection, LIVE, today) == []
        states = connection.execute("select rule, account_id, state, fired_on from sync.alert_states").fetchall()
        assert sorted(states) == sorted(
            (*key, oracle.state, oracle.fired) for key, oracle in oracles.items() if oracle.state
        )
        events = connection.execute(
            "select rule, account_id, as_of_date, from_state, to_state from sync.alert_events order by event_id"
        ).fetchall()
        assert sorted(events, key=str) == sorted(
            ((*key, *event) for key, oracle in oracles.items() for event in oracle.events), key=str
        )
        # Nothing is evaluated twice, and no earlier day after a later one.
        assert days_to_evaluate(connection, LIVE, days[0], days[-1]) == []


def messages_of(rule: AlertRule, scores: list[float]) -> list[str]:
    with duckdb.connect() as connection:
        days = [day(number) for number in range(len(scores))]
        fill(connection, [("A1", one, score) for one, score in zip(days, scores, strict=True)])
        load_conditions(connection, [rule], days[0], days[-1])
        kinds = []
        for today in days:
            evaluate_day(connection, LIVE, today, NOW)
            kinds += [one.kind for one in take_due(connection, LIVE, today)]
        return kinds


@pytest.mark.parametrize("for_days", [1, 2])
@pytest.mark.parametrize("repeat_days", [1, 14])
def test_an_account_that_changes_every_day_for_thirty_days_causes_at_most_two_messages(for_days, repeat_days):
    rule = AlertRule(name="a", when="rag = 'RED'", for_days=for_days, clear_days=2, repeat_days=repeat_days)
    kinds = messages_of(rule, [40.0, 80.0] * 15 + [80.0] * 5)
    # The message that it fired, and once it has settled, that it is resolved.
    assert kinds == (["fired", "resolved"] if for_days == 1 else [])


def test_an_alert_that_stays_is_repeated_and_resolved_once():
    rule = AlertRule(name="a", when="rag = 'RED'", for_days=2, clear_days=3, repeat_days=5)
    assert messages_of(rule, [40.0] * 13 + [80.0] * 6) == ["fired", "reminder", "reminder", "resolved"]


def test_a_rule_that_is_removed_resolves_its_alerts_and_a_silence_delays_a_message():
    rule = AlertRule(name="a", when="rag = 'RED'")
    with duckdb.connect() as connection:
        fill(connection, [(account, day(number), 40.0) for account in ("A1", "A2") for number in range(4)])
        connection.execute("insert into sync.alert_silences values ('A2', ?, 'on holiday', 'ann', ?)", [day(1), NOW])
        found = []
        for number, rules in enumerate(([rule], [rule], [rule], [])):
            load_conditions(connection, rules, day(number), day(number))
            evaluate_day(connection, LIVE, day(number), NOW)
            found.append([(one.account_id, one.kind) for one in take_due(connection, LIVE, day(number))])
        assert found == [[("A1", "fired")], [], [("A2", "fired")], [("A1", "resolved"), ("A2", "resolved")]]


def test_a_condition_that_fails_on_a_value_names_its_rule():
    rule = AlertRule(name="odd", when="cast(account_name as date) > date '2026-01-01'")
    with duckdb.connect() as connection:
        fill(connection, [("A1", day(0), 40.0)])
        with pytest.raises(InputError, match="the condition of odd cannot be evaluated: Conversion Error"):
            load_conditions(connection, [rule], day(0), day(0))
