"""Roots of days: one per published state, the same for the same outcome, and receipts that lead to them."""

import json
from datetime import UTC, date, datetime

import pytest

from csm_core.errors import InputError
from csm_core.receipts.day_roots import days_to_record
from csm_core.receipts.standalone import problems_of
from csm_core.receipts.verification import verify_file
from tests.receipts.scored_accounts import DAY, publish, receipt_lines, roots, stage_accounts
from tests.sql.harness import fresh

NEXT = date(2026, 7, 1)
LATER = "2026-07-09 07:00"


def test_a_day_that_is_built_again_with_the_same_outcome_keeps_its_root_and_receipts():
    with fresh() as connection:
        stage_accounts(connection)
        stage_accounts(connection, 2, "south")
        assert publish(connection) == 2
        before, receipts = roots(connection), receipt_lines(connection)
        assert publish(connection, at=LATER) == 0
        assert roots(connection) == before
        assert receipt_lines(connection) == receipts
    assert [(tenant, accounts) for tenant, _, accounts, *_ in before] == [("north", 5), ("south", 2)]
    assert json.loads(receipts[0])["statement"]["known_from"] == "2026-07-01T07:00:00.000000Z"


def test_each_receipt_leads_to_the_root_of_its_tenant_and_day():
    with fresh() as connection:
        stage_accounts(connection, 9)
        stage_accounts(connection, 3, "south")
        publish(connection, (DAY, NEXT))
        for tenant, day, accounts, root, _ in roots(connection):
            lines = receipt_lines(connection, tenant, day=day)
            assert len(lines) == accounts
            assert [problems_of(line, {root}) for line in lines] == [[]] * accounts
            ids = [json.loads(line)["statement"]["account_id"] for line in lines]
            assert ids == sorted(ids)


def test_a_revised_day_adds_a_root_that_names_the_previous_one():
    with fresh() as connection:
        stage_accounts(connection)
        publish(connection, (DAY, NEXT))
        first = roots(connection)
        old = receipt_lines(connection, account="north-01")[0]
        connection.execute("update staging.stg_nps_responses set score = 10 where account_id = 'north-04'")
        assert publish(connection, at=LATER) == 1
        found = roots(connection)
        assert found[:2] == first
        assert [previous for *_, previous in found] == [None, first[0][3], first[1][3]]
        assert found[2][:3] == ("north", DAY, 5)
        # The account that did not change has the same statement in both states, so both can be proven.
        at_first = datetime(2026, 7, 2, tzinfo=UTC)
        assert receipt_lines(connection, account="north-01", known_at=at_first) == [old]
        new = receipt_lines(connection, account="north-01")[0]
        assert json.loads(new)["statement"] == json.loads(old)["statement"]
        assert problems_of(new, {found[2][3]}) == []
        changed = json.loads(receipt_lines(connection, account="north-04")[0])["statement"]
        assert changed["known_from"] == "2026-07-09T07:00:00.000000Z"
        (earlier,) = receipt_lines(connection, account="north-04", known_at=at_first)
        assert problems_of(earlier, {first[0][3]}) == []
        assert json.loads(earlier)["statement"]["inputs"]["nps_score"] == 4
        assert json.loads(earlier)["statement"]["known_from"] == "2026-07-01T07:00:00.000000Z"
        connection.execute("delete from marts.csm_health_superseded")
        with pytest.raises(InputError, match="earlier ones are not stored"):
            receipt_lines(connection, account="north-04", known_at=at_first)
        with pytest.raises(InputError, match="nothing was published about 2026-06-30 at 2026-06-30 00:00:00 UTC"):
            receipt_lines(connection, known_at=datetime(2026, 6, 30, tzinfo=UTC))


def test_an_account_that_leaves_the_day_is_not_in_its_new_root():
    with fresh() as connection:
        stage_accounts(connection)
        publish(connection)
        old = receipt_lines(connection, account="north-02")[0]
        connection.execute("update staging.stg_accounts set churned_at = '2026-06-01' where account_id = 'north-02'")
        publish(connection, at=LATER)
        (_, _, five, first, _), (_, _, four, second, previous) = roots(connection)
        assert (five, four, previous) == (5, 4, first)
        assert problems_of(old, {first, second}) == []
        with pytest.raises(InputError, match="'north-02' is not among the 4 accounts of 2026-06-30"):
            receipt_lines(connection, account="north-02")


@pytest.mark.parametrize(
    ("change", "revised"),
    [
        ("update staging.stg_invoices set paid_at = '2026-07-01 00:00:00'", 0),
        ("update staging.stg_tickets set solved_at = '2026-07-05', escalated_at = '2026-07-02'", 0),
        ("update staging.stg_subscriptions set ended_at = '2026-07-01'", 0),
        ("update staging.stg_features set _closed_at = '2026-07-01' where feature = 'sso'", 0),
        ("update staging.stg_tickets set priority = 'high' where account_id = 'north-00'", 1),
        ("update staging.stg_interactions set contact_role = 'champion' where account_id = 'north-00'", 1),
        ("update staging.stg_subscriptions set mrr = mrr + 0.01 where account_id = 'north-00'", 1),
        ("update staging.stg_features set module = 'new'", 1),
        ("update staging.stg_usage_events set quantity = 9 where event_id = 'north-00-7'", 1),
    ],
)
def test_a_record_is_hashed_as_the_signals_of_the_day_see_it(change, revised):
    with fresh() as connection:
        stage_accounts(connection)
        publish(connection)
        connection.execute(change)
        assert publish(connection, at=LATER) == revised
        line = receipt_lines(connection, account="north-00")[0]
        assert problems_of(line, {roots(connection)[-1][3]}) == []
        entities = [one["entity"] for one in json.loads(line)["records"]]
    assert entities == sorted(entities)
    assert len(entities) == 9


def test_a_receipt_without_its_records_has_their_common_hash():
    with fresh() as connection:
        stage_accounts(connection)
        publish(connection)
        connection.execute("update staging.stg_tickets set priority = 'high' where account_id = 'north-00'")
        line = receipt_lines(connection, account="north-00")[0]
        assert json.loads(line)["records"] is None
        assert problems_of(line, {roots(connection)[0][3]}) == []


def test_a_day_from_before_there_were_receipts_says_how_to_get_them():
    with fresh() as connection:
        stage_accounts(connection)
        publish(connection)
        connection.execute("delete from marts.csm_day_roots")
        with pytest.raises(InputError, match="Rebuild the day: csm run --as-of 2026-06-30"):
            receipt_lines(connection)


def test_a_day_whose_run_was_killed_before_its_root_is_recorded_by_a_later_run():
    days = [DAY, NEXT, date(2026, 7, 2), date(2026, 7, 3)]
    with fresh() as connection:
        stage_accounts(connection)
        publish(connection, days)
        connection.execute("delete from marts.csm_day_roots where as_of_date = '2026-07-02'")
        connection.execute("update run.days_status set run_id = 'before'")
        assert days_to_record(connection, "run") == [date(2026, 7, 2)]


def test_verification_compares_with_the_warehouse(tmp_path):
    file = tmp_path / "receipts.jsonl"
    with fresh() as connection:
        stage_accounts(connection)
        publish(connection)
        file.write_text("\n".join(receipt_lines(connection)) + "\n", encoding="utf-8")
        assert [one.problems for one in verify_file(connection, file)] == [()] * 5
        connection.execute("update marts.csm_health_scores set score = 99 where account_id = 'north-03'")
        problems = {one.account_id: one.problems for one in verify_file(connection, file)}
        assert [len(problems[account]) for account in sorted(problems)] == [0, 0, 0, 1, 0]
        assert "score is" in problems["north-03"][0]
        assert problems["north-03"][0].endswith("99.0 in the warehouse, which was altered")
        connection.execute("update marts.csm_day_roots set root = repeat('0', 64)")
        assert all("is not the given root" in one.problems[0] for one in verify_file(connection, file))
        connection.execute("delete from marts.csm_day_roots")
        assert all("has no root" in one.problems[-1] for one in verify_file(connection, file))


def test_verification_of_a_revised_day_says_so(tmp_path):
    file = tmp_path / "receipts.jsonl"
    with fresh() as connection:
        stage_accounts(connection)
        publish(connection)
        file.write_text("\n".join(receipt_lines(connection)) + "\n", encoding="utf-8")
        connection.execute("update staging.stg_nps_responses set score = 10 where account_id = 'north-04'")
        publish(connection, at=LATER)
        notes = {(one.problems, one.note) for one in verify_file(connection, file)}
    assert notes == {((), "the day was revised, last at 2026-07-09 07:00:00 UTC")}
