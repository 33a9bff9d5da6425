"""What was known at any time is what was stored then, whatever is rebuilt, interrupted or removed afterwards."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csm_core.config import Config, Policy
from csm_core.scoring.as_known import as_known_sql
from csm_core.scoring.known_scores import keep_revised_signals
from csm_core.scoring.score_days import score_days
from csm_core.warehouse.database import Warehouse
from csm_core.warehouse.duckdb_engine import DuckDbEngine
from csm_core.warehouse.models import load_models
from csm_core.warehouse.remote_engine import RemoteEngine
from tests.examples import examples
from tests.scoring_cases import MIDDLE, frame_of
from tests.warehouse.parquet_session import ParquetSession

DAYS = [date(2026, 6, 28) + timedelta(days=number) for number in range(3)]
ACCOUNTS = ("A0", "A1", "A2")
MARTS = load_models("marts")
CONFIGURATIONS = (Config(), Config(policies=(Policy(green_threshold=60),)))
START = datetime(2026, 7, 1, 7, tzinfo=UTC)
FULL, SIGNALS_ONLY, SCORES_ONLY = "signals and scores", "signals", "scores"
# What an evening builds: a change of a record (None: the account leaves), the days, the steps, the configuration.
EVENINGS = st.lists(
    st.tuples(
        st.dictionaries(
            st.tuples(st.sampled_from(ACCOUNTS), st.sampled_from(DAYS)), st.sampled_from([None, 0, 5, 10]), max_size=3
        ),
        st.tuples(st.sampled_from(DAYS), st.sampled_from(DAYS)).map(lambda span: (min(span), max(span))),
        st.sampled_from([FULL, FULL, SIGNALS_ONLY, SCORES_ONLY]),
        st.sampled_from(CONFIGURATIONS),
        st.booleans(),
    ),
    min_size=2,
    max_size=8,
)


class Belief:
    """A warehouse with given signals, and what it stated after each evening."""

    def __init__(self, folder: Path, connection: Any, is_remote: bool) -> None:
        self.connection = connection
        self.engine = (
            RemoteEngine(connection, ParquetSession(folder / "tables")) if is_remote else DuckDbEngine(connection)
        )
        self.evenings: list[tuple[datetime, dict[date, list[tuple]]]] = []
        self._known: dict[date, list[tuple]] = {}
        connection.register("frame", frame_of([MIDDLE] * len(ACCOUNTS)))
        connection.execute("create table run.given_days as select unnest($days::date[]) as as_of_date", {"days": DAYS})
        connection.execute(
            "create table run.given as select 't' as tenant_id, frame.*, as_of_date, '' as missing_signals, "
            "1.0::double as signal_coverage, null::timestamp as known_from from frame, run.given_days"
        )
        connection.execute(
            "create table intermediate.int_account_days as "
            "select tenant_id, account_id, as_of_date, null::varchar as segment from run.given"
        )
        self.left: set[tuple[str, date]] = set()

    def change(self, account: str, day: date, score: int | None) -> None:
        self.left.discard((account, day))
        if score is None:
            self.left.add((account, day))
        self.connection.execute(
            "update run.given set nps_score = ? where account_id = ? and as_of_date = ?", [score, account, day]
        )

    def build(self, span: tuple[date, date], steps: str, config: Config, at: datetime) -> None:
        if steps != SCORES_ONLY:
            gone = " and ".join(
                f"not (account_id = '{account}' and as_of_date = date '{day}')" for account, day in sorted(self.left)
            )
            sql = (
                f"select * from run.given where as_of_date between $first_date and $last_date and {gone or 'true'} "
                "order by as_of_date, tenant_id, account_id"
            )
            self.engine.build(MARTS["csm_health_signals"], {}, span, sql=sql, around=keep_revised_signals)
        if steps != SIGNALS_ONLY:
            score_days(self.engine, MARTS["csm_health_scores"], config, span, scored_at=at)
            for day in DAYS:
                if span[0] <= day <= span[1]:
                    self._known[day] = self._rows(day)
        self.evenings.append((at, dict(self._known)))

    def _rows(self, day: date) -> list[tuple]:
        return self.connection.execute(
            "select signals.* exclude (known_from), scores.* exclude (tenant_id, account_id, as_of_date, config_hash, "
            "scored_at) from marts.csm_health_signals as signals inner join marts.csm_health_scores as scores "
            "using (account_id, as_of_date) where as_of_date = ? and signals.known_from = scores.known_from "
            "order by account_id",
            [day],
        ).fetchall()

    def known_at(self, at: datetime) -> dict[date, list[tuple]]:
        known = as_known_sql(self.connection, "cast($at as timestamp)")
        found: dict[date, list[tuple]] = {}
        for row in self.connection.execute(
            f"select as_of_date, * exclude (config_hash, scored_at, known_to) from ({known}) "
            "order by as_of_date, account_id",
            {"at": at.replace(tzinfo=None)},
        ).fetchall():
            found.setdefault(row[0], []).append(row[1:])
        return found


@pytest.mark.slow
@pytest.mark.parametrize("is_remote", [False, True], ids=["DuckDB", "another engine"])
@settings(max_examples=examples(20))
@given(evenings=EVENINGS)
def test_what_was_known_at_any_evening_is_what_was_stored_then(is_remote, evenings):
    with TemporaryDirectory() as folder, Warehouse(Path(folder) / "w.duckdb").connect() as connection:
        belief = Belief(Path(folder), connection, is_remote)
        belief.build((DAYS[0], DAYS[-1]), FULL, CONFIGURATIONS[0], START)
        for number, (changes, span, steps, config, moves_on) in enumerate(evenings, start=1):
            for (account, day), score in changes.items():
                belief.change(account, day, score)
            belief.build(span, steps, config, START + timedelta(days=number))
            if not moves_on:
                # The same evening once more, with the same records: nothing may change.
                belief.build(span, steps, config, START + timedelta(days=number, hours=1))
        # Days whose scores were not built any more after their signals.
        belief.build((DAYS[0], DAYS[-1]), SCORES_ONLY, CONFIGURATIONS[0], START + timedelta(days=20))
        for at, stored in belief.evenings:
            assert belief.known_at(at) == {day: rows for day, rows in stored.items() if rows}
        assert connection.execute(
            "select count(*) from marts.csm_health_superseded where known_from >= known_to"
        ).fetchone() == (0,)
        for table in ("run.known_scores", "run.revised_rows"):
            assert connection.execute(f"select count(*) from {table}").fetchone() == (0,)


@pytest.fixture
def belief(tmp_path):
    """Three accounts, the first day of which is built on the evening after it."""
    with Warehouse(tmp_path / "w.duckdb").connect() as connection:
        belief = Belief(tmp_path, connection, is_remote=False)
        belief.build(FIRST, FULL, Config(), EVENING)
        yield belief


FIRST = (DAYS[0], DAYS[0])
EVENING = datetime(2026, 6, 29, 7, tzinfo=UTC)


def superseded(belief: Belief, columns: str = "account_id, known_from, known_to, revised_by") -> list[tuple]:
    return belief.connection.execute(f"select {columns} from marts.csm_health_superseded order by all").fetchall()


def basis(belief: Belief) -> dict[str, str]:
    return dict(belief.connection.execute("select account_id, basis from marts.csm_health_scores").fetchall())


def plain(at: datetime) -> datetime:
    """A UTC time as it is stored."""
    return at.replace(tzinfo=None)


def test_a_revision_until_late_arrival_days_after_the_day_is_as_known_and_later_reconstructed(belief):
    # The day ends with 28 June, and late records count for three days.
    limit = datetime(2026, 7, 2, tzinfo=UTC)
    belief.change("A0", DAYS[0], 0)
    belief.build(FIRST, FULL, Config(), limit)
    assert set(basis(belief).values()) == {"as_known"}
    belief.change("A0", DAYS[0], 5)
    belief.build(FIRST, FULL, Config(), limit + timedelta(microseconds=1))
    assert basis(belief) == {"A0": "reconstructed", "A1": "as_known", "A2": "as_known"}


def test_other_thresholds_and_parameters_are_revisions_by_the_configuration(belief):
    stricter = Config(policies=(Policy(green_threshold=99, amber_threshold=98),))
    belief.build(FIRST, FULL, stricter, START)
    assert superseded(belief) == [(account, plain(EVENING), plain(START), "config") for account in ACCOUNTS]
    windows = stricter.model_copy(update={"signals": stricter.signals.model_copy(update={"login_window_days": 30})})
    belief.change("A1", DAYS[0], 0)
    later = START + timedelta(days=1)
    belief.build(FIRST, FULL, windows, later)
    assert [row for row in superseded(belief) if row[2] == plain(later)] == [
        ("A1", plain(START), plain(later), "config")
    ]


def test_another_version_of_the_models_is_a_revision_by_the_code(belief):
    belief.connection.execute("update run.score_versions set code_version = 'of an earlier version'")
    belief.change("A1", DAYS[0], 0)
    belief.build(FIRST, FULL, Config(), START)
    assert superseded(belief) == [("A1", plain(EVENING), plain(START), "code")]


def test_an_account_that_leaves_a_day_has_no_successor_and_returns_from_a_later_time(belief):
    belief.change("A1", DAYS[0], None)
    belief.build(FIRST, FULL, Config(), START)
    assert superseded(belief) == [("A1", plain(EVENING), plain(START), "records")]
    assert [row[1] for row in belief.known_at(START)[DAYS[0]]] == ["A0", "A2"]
    belief.change("A1", DAYS[0], 5)
    belief.build(FIRST, FULL, Config(), START + timedelta(days=1))
    assert [len(belief.known_at(START + timedelta(days=days))[DAYS[0]]) for days in (-1, 0, 1)] == [3, 2, 3]


def test_signals_whose_scores_were_never_built_were_not_known(belief):
    second = (DAYS[1], DAYS[1])
    belief.build(second, SIGNALS_ONLY, Config(), START)
    belief.change("A0", DAYS[1], 0)
    belief.build(second, FULL, Config(), START + timedelta(days=1))
    assert superseded(belief) == []


def test_signals_that_return_to_their_values_before_scores_are_built_are_no_revision(belief):
    belief.change("A0", DAYS[0], 0)
    belief.build(FIRST, SIGNALS_ONLY, Config(), START)
    belief.change("A0", DAYS[0], MIDDLE["nps_score"])
    belief.build(FIRST, FULL, Config(), START + timedelta(days=1))
    assert superseded(belief) == []
    belief.build(FIRST, SCORES_ONLY, Config(), START + timedelta(days=2))
    assert superseded(belief) == []


def test_a_clock_that_goes_back_does_not_reorder_what_was_known(belief):
    belief.change("A0", DAYS[0], 0)
    belief.build(FIRST, FULL, Config(), EVENING - timedelta(hours=1))
    ((known_from, known_to),) = superseded(belief, "known_from, known_to")
    assert known_from == plain(EVENING)
    assert known_to == known_from + timedelta(microseconds=1)
