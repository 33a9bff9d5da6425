"""A day can be replayed from the records and the configuration of a time, with the scores that were known then."""

import json
from datetime import UTC, date, datetime, timedelta

import duckdb
import pytest
import yaml

from csm_core.errors import InputError
from pipelines.replay import replay_day
from pipelines.run import run_days
from tests.conftest import make_company
from tests.in_process import csm
from tests.pipelines.test_known_scores import FILES, WIDE
from tests.scored import scored_assets

FIRST, DAYS = date(2026, 6, 25), 5


def evening(number: int) -> datetime:
    """The time of the run of a day: the next morning."""
    return datetime(2026, 6, 26, 7, tzinfo=UTC) + timedelta(days=number)


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """A company whose records were corrected, late, deleted and added from one run to the next."""
    folder = tmp_path_factory.mktemp("replay")
    records = folder / "records"
    records.mkdir()
    for name, content in FILES.items():
        (records / name).write_text(content, encoding="utf-8")
    company = make_company(folder, records, checks=WIDE, partitions_start="2026-06-20", max_closed_percent=100)
    changes = [
        {},
        {"nps_responses.csv": FILES["nps_responses.csv"].replace(",9,", ",2,")},
        {
            "accounts.csv": FILES["accounts.csv"] + "a3,Cole,pro,2025-01-01,\n",
            "tickets.csv": FILES["tickets.csv"] + "t2,a2,2026-06-20,,negative\n",
        },
        {"usage_events.csv": "\n".join(FILES["usage_events.csv"].splitlines()[:12]) + "\n"},
        {"tickets.csv": "ticket_id,account_id,opened_at,solved_at,sentiment\nt2,a2,2026-06-20,2026-06-27,positive\n"},
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(company.folder / "dagster_home"))
        scores = scored_assets(company, "csm_days")
        for number, files in enumerate(changes):
            for name, content in files.items():
                (records / name).write_text(content, encoding="utf-8")
            at = evening(number)
            outcome = run_days(
                company.config, (day(number), day(number)), select=scores, publish=False, clock=lambda at=at: at
            )
            assert outcome.succeeded, outcome
    return company


@pytest.mark.parametrize("number", range(DAYS))
def test_every_evening_is_replayed(history, number):
    replay = replay_day(history.config, day(number), evening(number) + timedelta(hours=12))
    assert replay.accounts >= 2
    assert replay.differences == ()
    assert replay.equal == replay.accounts


def test_a_late_record_that_did_not_change_the_stored_score_is_found(history):
    # The response is of a day before the days that late records rebuild.
    replay = replay_day(history.config, day(0), evening(1) + timedelta(hours=12))
    assert ("a1", "nps_score", 9, 2) in [
        (one.account_id, one.column, one.stored, one.replayed) for one in replay.differences
    ]


def write(company, sql):
    with duckdb.connect(str(company.config.warehouse)) as connection:
        connection.execute(sql)


def test_a_changed_score_is_found(history, tmp_path):
    changed = (
        "update marts.csm_health_scores set score = score - 1 where account_id = 'a1' and as_of_date = '2026-06-29'"
    )
    write(history, changed)
    try:
        done = csm("replay", "--day", "2026-06-29", "--json", "--config", str(history.config_file), folder=tmp_path)
        assert done.status == 1, done.stderr
        shown = json.loads(done.stdout)
        assert [(one["account_id"], one["column"]) for one in shown["differences"]] == [("a1", "score")]
        assert shown["equal"] == shown["accounts"] - 1
    finally:
        write(history, changed.replace("- 1", "+ 1"))


def test_a_day_is_replayed_with_its_own_configuration(history, tmp_path):
    stated = yaml.safe_load(history.config_file.read_text(encoding="utf-8"))
    history.config_file.write_text(yaml.safe_dump(stated | {"policies": [{"green_threshold": 99}]}), encoding="utf-8")
    try:
        done = csm("replay", "--day", "2026-06-29", "--config", str(history.config_file), folder=tmp_path)
    finally:
        history.config_file.write_text(yaml.safe_dump(stated), encoding="utf-8")
    assert done.status == 0, done.stdout + done.stderr
    assert "3 accounts compared, 3 equal" in done.stdout


def test_a_time_before_the_first_score_is_bad_input(history):
    with pytest.raises(InputError, match="no score of 2026-06-29 was known at 2026-06-01"):
        replay_day(history.config, date(2026, 6, 29), datetime(2026, 6, 1, tzinfo=UTC))


def test_nothing_is_left_behind(history, tmp_path):
    before = sorted(path.name for path in history.config.warehouse.parent.iterdir())
    csm("replay", "--day", "2026-06-29", "--config", str(history.config_file), folder=tmp_path)
    assert sorted(path.name for path in history.config.warehouse.parent.iterdir()) == before
