"""Since when scores are known: a rebuild keeps it for equal rows and moves the others to the superseded ones."""

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pytest

from pipelines.build import build_defs
from pipelines.run import run_days
from tests.conftest import Company, make_company, moved
from tests.in_process import Done, csm
from tests.scored import scored_assets

FILES = {
    "accounts.csv": "account_id,account_name,plan,created_at,churned_at\n"
    "a1,Ahlers,pro,2025-01-01,\na2,Bolt,pro,2025-01-01,\n",
    "features.csv": "feature,module\nreports,core\n",
    "nps_responses.csv": "response_id,account_id,respondent_id,score,responded_at\nr1,a1,p1,9,2026-06-01\n",
    "tickets.csv": "ticket_id,account_id,opened_at,solved_at,sentiment\nt1,a1,2026-05-01,,neutral\n",
    "usage_events.csv": "event_id,account_id,user_id,event_name,feature,occurred_at\n"
    + "".join(f"e{day},a1,u1,login,reports,2026-06-{day:02}T10:00:00Z\n" for day in range(1, 31)),
}
AS_STORED = "select columns(lambda name: name not in ('config_hash', 'scored_at', 'known_to'))"
WIDE = {"max_mean_score_swing": 100, "max_rag_changed_percent": 100}
MONDAY, TUESDAY = date(2026, 6, 29), date(2026, 6, 30)
SIGNALS, SCORES = "marts.csm_health_signals", "marts.csm_health_scores"
SUPERSEDED = "marts.csm_health_superseded"
# The selection of a run of all assets, as the commands need it that show scores.
ALL_ASSETS = ()


def evening(day: int, hour: int = 7) -> datetime:
    """A time in July 2026, UTC, as it is stored; the first is the morning after Tuesday."""
    return datetime(2026, 7, day, hour, tzinfo=UTC).replace(tzinfo=None)


# The morning after Monday.
FIRST = evening(1) - timedelta(days=1)


@dataclass(frozen=True)
class Known:
    """A company of two accounts and its records."""

    company: Company
    records: Path

    def run(self, day: date, at: datetime, last: date | None = None, **more: Any) -> None:
        # Without a selection the scores, and not what is made of them.
        select = more.pop("select", None)
        select = scored_assets(self.company, "csm_days", "csm_analytics") if select is None else select
        outcome = run_days(
            self.company.config,
            (day, last or day),
            publish=False,
            clock=lambda: at.replace(tzinfo=UTC),
            select=select,
            **more,
        )
        assert outcome.succeeded, outcome

    def arrive(self, entity: str, text: str) -> None:
        with (self.records / f"{entity}.csv").open("a", encoding="utf-8") as stream:
            stream.write(text)

    def known(self, day: date = MONDAY) -> dict[str, tuple[datetime, str]]:
        """Since when the scores of a day are known, by account, and their basis."""
        rows = self.company.query(
            f"select account_id, known_from, basis from {SCORES} where as_of_date = '{day}' order by 1"
        )
        signals = self.company.query(f"select account_id, known_from from {SIGNALS} where as_of_date = '{day}'")
        assert dict(signals) == {account: known_from for account, known_from, _ in rows}
        return {account: (known_from, basis) for account, known_from, basis in rows}

    def stored(self, day: date = MONDAY) -> list[tuple]:
        return self.company.query(
            f"select account_id, nps_score, score from {SIGNALS} join {SCORES} using (account_id, as_of_date) "
            f"where as_of_date = '{day}' order by 1"
        )

    def rows(self) -> list[tuple]:
        """Everything that signals and scores state, but when and how it was computed last."""
        signals = f"(select * exclude (known_from) from {SIGNALS})"
        both = f"{signals} join (select * exclude (tenant_id) from {SCORES}) using (account_id, as_of_date)"
        return self.company.query(f"{AS_STORED} from {both} order by all")

    def csm(self, *arguments: str) -> Done:
        return csm(*arguments, folder=self.company.folder, environment=self.company.environment)

    def superseded(self, columns: str = "account_id, known_from, known_to, revised_by") -> list[tuple]:
        return self.company.query(f"select {columns} from {SUPERSEDED} order by all")


@pytest.fixture(scope="module")
def after_monday(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the company after the run of Monday, on the next morning; each test takes a copy of it."""
    base = tmp_path_factory.mktemp("known") / "base"
    records = base / "records"
    records.mkdir(parents=True)
    for name, content in FILES.items():
        (records / name).write_text(content, encoding="utf-8")
    company = make_company(base, records, checks=WIDE, partitions_start="2026-06-20")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DAGSTER_HOME", str(company.folder / "dagster_home"))
        Known(company, records).run(MONDAY, FIRST, select=ALL_ASSETS)
    return base


@pytest.fixture
def known(after_monday: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Known:
    """The company after the run of Monday, on the next morning."""
    base = moved(after_monday, tmp_path / "base")
    company = Company(base / "company_0", base / "company_0" / "csm.yaml")
    monkeypatch.setenv("DAGSTER_HOME", str(company.folder / "dagster_home"))
    return Known(company, base / "records")


def test_a_rebuild_with_the_same_outcome_keeps_the_time(known):
    before = known.known()
    assert before == {"a1": (FIRST, "as_known"), "a2": (FIRST, "as_known")}
    known.run(MONDAY, evening(20))
    assert known.known() == before
    assert known.superseded() == []
    assert known.company.query(f"select distinct scored_at from {SCORES}") == [(evening(20),)]


def test_late_records_supersede_the_row_of_their_account_and_commands_show_both(known):
    before = known.stored()
    known.arrive("nps_responses", "r2,a2,p2,0,2026-06-29\n")
    known.arrive("usage_events", "late1,a2,u9,login,reports,2026-06-29T23:59:59Z\n")
    known.run(TUESDAY, evening(1), select=ALL_ASSETS)
    assert known.known() == {"a1": (FIRST, "as_known"), "a2": (evening(1), "as_known")}
    assert known.superseded() == [("a2", FIRST, evening(1), "records")]

    # The published copy shows the rows of both mornings.
    with duckdb.connect(str(known.company.config.warehouse.parent / "published" / "csm_analytics.duckdb")) as copy:
        as_known = "select account_id, nps_score, score from csm_health_as_known({}) where as_of_date = ? order by 1"
        assert copy.execute(as_known.format("'2026-06-30 07:00:00'"), [MONDAY]).fetchall() == before
        assert copy.execute(as_known.format("now()"), [MONDAY]).fetchall() == known.stored()

    shown = known.csm("revisions", "--day", str(MONDAY), "--account", "Bolt", "--json")
    assert shown.status == 0, shown.stderr
    listed = json.loads(shown.stdout)
    (revision,) = listed["revisions"]
    assert {"column": "nps_score", "before": None, "after": 0} in revision["changes"]
    records = {(one["entity"], one["key"], one["records"], Path(one["file"]).name) for one in revision["records"]}
    assert records == {
        ("nps_responses", "r2", 1, "nps_responses.csv"),
        ("usage_events", None, 1, "usage_events.csv"),
    }
    text = known.csm("revisions", "--day", str(MONDAY)).stdout
    assert "known from 2026-06-30 07:00:00 UTC to 2026-07-01 07:00:00 UTC, revised by changed records" in text
    assert "nps_responses r2, dated 2026-06-29, load" in text
    assert "no revision of account a1" in known.csm("revisions", "--day", str(MONDAY), "--account", "a1").stdout
    assert known.csm("revisions", "--day", "2026-05-01").status == 2

    explained = ("explain", "a2", "--as-of", str(MONDAY), "--known-at")
    earlier = json.loads(known.csm(*explained, "2026-06-30T08:00:00", "--json").stdout)
    assert (earlier["account_id"], earlier["signals"]["nps_score"]["value"], earlier["score"]) == before[1]
    text = known.csm(*explained, "2026-06-30T08:00:00").stdout
    assert "until 2026-07-01 07:00:00 UTC, when a later run revised it" in text
    assert "not revised since" in known.csm(*explained, "2026-07-02").stdout
    nothing = known.csm(*explained, "2026-06-30T06:00:00")
    assert (nothing.status, "known from 2026-06-30 07:00:00 UTC" in nothing.stderr) == (2, True)
    assert known.csm("explain", "a2", "--known-at", "2026-07-02").status == 2


@pytest.mark.slow
def test_a_record_from_before_a_churn_that_arrives_after_it_changes_only_reconstructed_rows(known):
    late_arrival_days = timedelta(days=known.company.config.late_arrival_days)

    def all_rows() -> dict[tuple[str, date], tuple[Any, ...]]:
        rows = known.company.query(
            "select account_id, as_of_date, basis, * exclude (account_id, as_of_date, basis, config_hash, scored_at) "
            f"from (select * exclude (tenant_id, known_from) from {SIGNALS}) join {SCORES} "
            "using (account_id, as_of_date)"
        )
        return {(row[0], row[1]): row[2:] for row in rows}

    def changed(day: date, at: datetime, last: date | None = None) -> dict[tuple[str, date], str]:
        """Run; returns the basis of each row of an earlier day that differs, also of one that is gone."""
        before = all_rows()
        known.run(day, at, last)
        after = all_rows()
        found = {key: after.get(key, ("gone",))[0] for key, row in before.items() if after.get(key) != row}
        for (_, one), basis in found.items():
            is_inside = at <= datetime.combine(one, datetime.min.time()) + timedelta(days=1) + late_arrival_days
            assert basis == ("as_known" if is_inside else "reconstructed")
        return found

    july = "".join(f"j{day},a1,u1,login,reports,2026-07-0{day}T10:00:00Z\n" for day in range(1, 6))
    known.arrive("usage_events", july)
    known.run(TUESDAY, evening(1))
    (known.records / "lifecycle_events.csv").write_text(
        "event_id,account_id,kind,occurred_at\nl1,a2,churned,2026-07-01\n", encoding="utf-8"
    )
    known.run(date(2026, 7, 1), evening(2))
    assert {basis for basis, *_ in all_rows().values()} == {"as_known"}
    # Inside late_arrival_days of Tuesday, the day is rebuilt in time.
    known.arrive("tickets", "t2,a2,2026-06-30,,critical\n")
    assert changed(date(2026, 7, 2), evening(3)) == {("a2", TUESDAY): "as_known"}
    # Later, a daily run changes no settled day, and a rebuild reconstructs.
    known.arrive("tickets", "t3,a2,2026-06-29,,negative\n")
    assert changed(date(2026, 7, 5), evening(6)) == {}
    assert changed(MONDAY, evening(6, 8), date(2026, 7, 5)) == {
        ("a2", MONDAY): "reconstructed",
        ("a2", TUESDAY): "reconstructed",
    }
    assert [day for account, day in all_rows() if account == "a2" and day > TUESDAY] == []


@pytest.mark.slow
def test_a_run_that_stops_between_signals_and_scores_loses_no_known_row(known):
    before = known.stored()
    known.arrive("nps_responses", "r2,a2,p2,0,2026-06-29\n")
    known.run(MONDAY, evening(1), select=before_scores(known.company))
    known.arrive("nps_responses", "r3,a2,p2,5,2026-06-29T12:00:00Z\n")
    known.run(MONDAY, evening(2), select=before_scores(known.company))
    assert known.superseded("account_id") == []
    known.run(MONDAY, evening(3))
    assert known.superseded() == [("a2", FIRST, evening(3), "records")]
    assert known.superseded("account_id, nps_score, score") == before[1:]
    assert known.superseded("len(load_ids)") == [(2,)]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_every_evening_is_known_as_it_was_stored(known, seed):
    draw = Random(seed)
    stored: dict[datetime, list[tuple]] = {}
    for number in range(1, 11):
        for late in range(draw.randrange(3)):
            day = date(2026, 6, draw.randrange(24, 31))
            account = draw.choice(("a1", "a2"))
            key = f"late{number}_{late}"
            known.arrive("nps_responses", f"{key},{account},{key},{draw.randrange(11)},{day}\n")
            known.arrive("usage_events", f"{key},{account},{key},login,reports,{day}T10:00:00Z\n")
        at = evening(number)
        last = at.date() - timedelta(days=1)
        known.arrive("usage_events", f"day{number},a1,u1,login,reports,{last}T10:00:00Z\n")
        known.run(draw.choice((last, last - timedelta(days=draw.randrange(4)))), at, last)
        stored[at] = known.rows()
    copy = known.company.config.warehouse.parent / "published" / "csm_analytics.duckdb"
    with duckdb.connect(str(copy), read_only=True) as connection:
        for at, rows in stored.items():
            found = connection.execute(f"{AS_STORED} from csm_health_as_known(?) order by all", [at]).fetchall()
            assert found == rows, at
    assert known.superseded("count(*)")[0][0] > 0


def before_scores(company: Company) -> list[str]:
    """The assets of records, intermediate models and signals."""
    keys = {key.to_user_string() for key in build_defs(company.config).resolve_all_asset_keys()}
    return sorted(
        key
        for key in keys
        if key.startswith(("raw_", "stg_", "int_account", "int_usage")) or key == "csm_health_signals"
    )
