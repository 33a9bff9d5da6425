"""Since when scores are known: a rebuild keeps it for equal rows and moves the others to the superseded ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.build import build_defs
from pipelines.run import run_days
from tests.conftest import Company, make_company

FILES = {
    "accounts.csv": "account_id,account_name,plan,created_at,churned_at\n"
    "a1,Ahlers,pro,2025-01-01,\na2,Bolt,pro,2025-01-01,\n",
    "features.csv": "feature,module\nreports,core\n",
    "nps_responses.csv": "response_id,account_id,respondent_id,score,responded_at\nr1,a1,p1,9,2026-06-01\n",
    "tickets.csv": "ticket_id,account_id,opened_at,solved_at,sentiment\nt1,a1,2026-05-01,,neutral\n",
    "usage_events.csv": "event_id,account_id,user_id,event_name,feature,occurred_at\n"
    + "".join(f"e{day},a1,u1,login,reports,2026-06-{day:02}T10:00:00Z\n" for day in range(1, 31)),
}
WIDE = {"max_mean_score_swing": 100, "max_rag_changed_percent": 100}
MONDAY, TUESDAY = date(2026, 6, 29), date(2026, 6, 30)
SIGNALS, SCORES = "marts.csm_health_signals", "marts.csm_health_scores"
SUPERSEDED = "marts.csm_health_superseded"


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
        outcome = run_days(
            self.company.config, (day, last or day), publish=False, clock=lambda: at.replace(tzinfo=UTC), **more
        )
        assert outcome.succeeded, outcome

    def arrive(self, entity: str, text: str) -> None:
        with (self.records / f"{entity}.csv").open("a", encoding="utf-8") as stream:
            stream.write(text)

    def configure(self, values: Mapping[str, Any]) -> None:
        file = self.company.config_file
        stated = yaml.safe_load(file.read_text(encoding="utf-8"))
        file.write_text(yaml.safe_dump(stated | values), encoding="utf-8")

    def known(self, day: date = MONDAY) -> dict[str, tuple[datetime, str]]:
        """Since when the scores of a day are known, by account, and their basis."""
        rows = self.company.query(
            f"select account_id, known_from, basis from {SCORES} where as_of_date = '{day}' order by 1"
        )
        signals = self.company.query(f"select account_id, known_from from {SIGNALS} where as_of_date = '{day}'")
        assert dict(signals) == {account: known_from for account, known_from, _ in rows}
        return {account: (known_from, basis) for account, known_from, basis in rows}

    def superseded(self, columns: str = "account_id, known_from, known_to, revised_by") -> list[tuple]:
        return self.company.query(f"select {columns} from {SUPERSEDED} order by all")


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Known:
    """The company after the run of Monday, on the next morning."""
    records = tmp_path / "records"
    records.mkdir()
    for name, content in FILES.items():
        (records / name).write_text(content, encoding="utf-8")
    company = make_company(tmp_path, records, checks=WIDE, partitions_start="2026-06-20")
    monkeypatch.setenv("DAGSTER_HOME", str(company.folder / "dagster_home"))
    one = Known(company, records)
    one.run(MONDAY, FIRST)
    return one


def test_a_rebuild_with_the_same_outcome_changes_nothing(known):
    before = known.known()
    assert before == {"a1": (FIRST, "as_known"), "a2": (FIRST, "as_known")}
    known.run(MONDAY, evening(20))
    assert known.known() == before
    assert known.superseded() == []
    assert known.company.query(f"select distinct scored_at from {SCORES}") == [(evening(20),)]


def test_a_late_record_supersedes_the_row_of_its_account_and_names_the_load(known):
    before = known.company.query(f"select score, nps_score from {SCORES} join {SIGNALS} using (account_id, as_of_date)")
    known.arrive("nps_responses", "r2,a2,p2,0,2026-06-29\n")
    known.run(TUESDAY, evening(1))
    assert known.known() == {"a1": (FIRST, "as_known"), "a2": (evening(1), "as_known")}
    assert known.superseded() == [("a2", FIRST, evening(1), "records")]
    assert known.superseded("score, nps_score")[0] in before
    ((loads,),) = known.superseded("load_ids")
    assert known.company.query(
        f"select entity, record_key from run.late_record_keys where load_id in {tuple(loads + loads)}"
    ) == [("nps_responses", "r2")]


def test_a_revision_after_late_arrival_days_is_reconstructed(known):
    known.arrive("nps_responses", "r2,a2,p2,0,2026-06-29\n")
    known.run(MONDAY, evening(3, 0))
    assert known.known()["a2"] == (evening(3, 0), "as_known")
    known.arrive("nps_responses", "r3,a2,p2,10,2026-06-29T12:00:00Z\n")
    known.run(MONDAY, evening(3, 1))
    assert known.known()["a2"] == (evening(3, 1), "reconstructed")
    assert known.known()["a1"] == (FIRST, "as_known")


def test_a_change_of_the_configuration_is_the_reason_of_a_revision(known):
    known.configure({"policies": [{"green_threshold": 99, "amber_threshold": 98}]})
    known.run(MONDAY, evening(1))
    assert known.superseded() == [(account, FIRST, evening(1), "config") for account in ("a1", "a2")]
    known.configure({"signals": {"login_window_days": 30}})
    known.run(MONDAY, evening(2))
    # The other account has no logins in any window.
    assert known.superseded()[1:] == [("a1", evening(1), evening(2), "config"), ("a2", FIRST, evening(1), "config")]


def test_an_account_that_leaves_a_day_is_superseded_without_a_successor(known):
    accounts = known.records / "accounts.csv"
    accounts.write_text(
        accounts.read_text(encoding="utf-8").replace("Bolt,pro,2025-01-01,", "Bolt,pro,2025-01-01,2026-06-15")
    )
    known.run(MONDAY, evening(1))
    assert known.known() == {"a1": (FIRST, "as_known")}
    assert known.superseded() == [("a2", FIRST, evening(1), "records")]


def test_a_first_build_that_was_interrupted_before_its_scores_was_never_known(known):
    known.run(TUESDAY, evening(1), select=before_scores(known.company))
    known.run(TUESDAY, evening(2))
    assert set(known.known(TUESDAY).values()) == {(evening(2), "as_known")}
    assert known.superseded() == []


def test_signals_that_were_rebuilt_without_scores_do_not_hide_what_was_known(known):
    before = known.company.query(
        f"select account_id, nps_score, score from {SIGNALS} join {SCORES} using (account_id, as_of_date) order by 1"
    )
    known.arrive("nps_responses", "r2,a2,p2,0,2026-06-29\n")
    until_signals = before_scores(known.company)
    known.run(MONDAY, evening(1), select=until_signals)
    assert known.superseded("account_id") == []
    known.arrive("nps_responses", "r3,a2,p2,5,2026-06-29T12:00:00Z\n")
    known.run(MONDAY, evening(2), select=until_signals)
    known.run(MONDAY, evening(3))
    assert known.superseded("account_id, known_from, known_to, revised_by") == [("a2", FIRST, evening(3), "records")]
    assert known.superseded("account_id, nps_score, score") == [row for row in before if row[0] == "a2"]
    ((loads,),) = known.superseded("len(load_ids)")
    assert loads == 2
    assert known.company.query("select count(*) from run.revised_rows") == [(0,)]


def test_signals_that_return_to_their_values_before_the_scores_are_built_are_no_revision(known):
    responses = known.records / "nps_responses.csv"
    before, text = known.known(), responses.read_text(encoding="utf-8")
    until_signals = before_scores(known.company)
    responses.write_text(text.replace("p1,9,", "p1,0,"), encoding="utf-8")
    known.run(MONDAY, evening(1), select=until_signals)
    responses.write_text(text, encoding="utf-8")
    known.run(MONDAY, evening(2))
    assert (known.known(), known.superseded()) == (before, [])


def before_scores(company: Company) -> list[str]:
    """The assets of records, intermediate models and signals."""
    keys = {key.to_user_string() for key in build_defs(company.config).resolve_all_asset_keys()}
    return sorted(
        key
        for key in keys
        if key.startswith(("raw_", "stg_", "int_account", "int_usage")) or key == "csm_health_signals"
    )
