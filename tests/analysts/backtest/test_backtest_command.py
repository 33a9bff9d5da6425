"""``csm backtest`` on a history that was worked out by hand: every figure exact, and the asset that stores it."""

import json
import random
from copy import deepcopy

import pytest

from tests.analysts.backtest.scored_history import ScoredHistory, twenty_five_observations
from tests.in_process import csm

LEAD_OF_A_WEEK = ("backtest", "--lead", "7", "--json")


@pytest.fixture(scope="module")
def company(tmp_path_factory):
    return twenty_five_observations().company(tmp_path_factory.mktemp("hand_worked"))


@pytest.fixture(scope="module")
def report(company):
    return report_of(company)


def report_of(company, *arguments):
    done = csm(*LEAD_OF_A_WEEK, *arguments, folder=company.folder, environment=company.environment)
    assert (done.status, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_the_counts_are_those_of_the_observations(report):
    counts = {name: report[name] for name in ("basis", "lead_days", "horizon_days", "dates", "observations")}
    assert counts == {"basis": "as_known", "lead_days": 7, "horizon_days": 90, "dates": 3, "observations": 21}
    # c1 to c4, c6 to c10, r and x4 churn; s1 to s6 stay, and so does r after its return.
    assert (report["accounts"], report["churned_accounts"], report["churned_observations"]) == (17, 11, 11)
    assert (report["dead_zone"], report["censored"]) == (2, 2)


def test_the_auc_counts_pairs_of_a_date_and_half_of_ties(report):
    # April: c1 is below 5 of 5, c2 4.5, c3 4, c4 3.5, r 3. May: c6 3.5, c7 3.5, c8 1.5, c9 5, c10 3.
    # August has no pair.
    assert report["auc"]["pairs"] == 50
    assert report["auc"]["value"] == pytest.approx((20 + 16.5) / 50, abs=1e-12)
    assert report["auc"]["low"] < 0.73 < report["auc"]["high"]


def test_the_lift_counts_a_tie_at_the_cut_in_proportion(report):
    # 10 %: c1, c9 and a tenth of x4. 20 %: c1 and half of the tie of c2 with s1, c9, and a fifth of x4.
    assert report["lift"]["10"] == pytest.approx(2.1 / 1.1, abs=1e-12)
    assert report["lift"]["20"] == pytest.approx(2.7 / 2.2, abs=1e-12)


def test_the_bands_have_their_churn_rates(report):
    counts = {
        row["rag"]: (row["observations"], row["accounts"], row["churned"], row["rate"]) for row in report["bands"]
    }
    assert counts == {"GREEN": (8, 7, 2, 0.25), "AMBER": (8, 8, 6, 0.75), "RED": (5, 5, 3, 0.6)}
    assert report["bands_ordered"] is False
    risks = {row["churn_risk_level"]: (row["observations"], row["churned"]) for row in report["risk_levels"]}
    assert risks == {"low": (8, 2), "medium": (8, 6), "high": (5, 3), "critical": (0, 0)}


def test_alerts_and_lead_times(report):
    alerts = report["alerts"]
    assert (alerts["precision"], alerts["recall"], alerts["recall_by_mrr"]) == (0.6, 3 / 11, 3 / 11)
    assert alerts["per_100_accounts_and_month"] == pytest.approx(500 / 21, abs=1e-12)
    # c1 8 days, c9 20, c3 45, c2 97; the other seven were never alerted.
    lead_time = report["lead_time"]
    assert (lead_time["lower_quartile"], lead_time["median"], lead_time["upper_quartile"]) == (17, 32.5, 58)
    assert lead_time["never_alerted"] == 7 / 11


def test_green_churn_and_measures_without_information(report):
    assert [(one["account_id"], one["observed_on"], one["score"]) for one in report["green_churn"]] == [
        ("r", "2026-04-30", 70),
        ("c8", "2026-05-31", 85),
    ]
    # All accounts have the same points, and no MRR is known of 90 days before.
    assert {row["auc"] for row in report["signals"]} == {0.5}
    baselines = {row["name"]: row["auc"] for row in report["baselines"]}
    assert baselines.pop("mrr_change_90d") is None
    assert baselines.pop("pulse") is None
    assert report["pulse"] == {"observations": 0, "accounts": 0, "share": 0}
    assert set(baselines.values()) == {0.5}


def test_pulses_are_compared_with_the_scores_of_the_same_observations(tmp_path):
    history = twenty_five_observations()
    for account, pulse in {"c1": 1, "c2": 4, "s1": 4, "s2": 3}.items():
        history.pulse(account, "2026-04-30", pulse)
    # Recorded when the end was known, and on a day without an observation.
    history.pulse("c3", "2026-04-30", 1, "2026-05-02 00:00:00")
    history.pulse("c4", "2026-04-29", 1)
    company = history.company(tmp_path)
    found = report_of(company)
    baselines = {row["name"]: row["auc"] for row in found["baselines"]}
    # c1 is below both accounts that stayed; c2 has the pulse of s1 and a higher one than s2, and the score of s1.
    assert (baselines["pulse"], baselines["score_with_pulse"]) == (2.5 / 4, 3.5 / 4)
    assert found["pulse"] == {"observations": 4, "accounts": 4, "share": 4 / 21}
    said = csm("backtest", "--lead", "7", folder=company.folder, environment={"CSM_CONFIG": str(company.config_file)})
    assert "4 observations of 4 accounts (19.0%) have a pulse; the others are left out of its AUC." in said.stdout
    assert "pulse of the owner alone" in said.stdout


def test_the_order_of_rows_and_the_number_of_threads_change_nothing(report, tmp_path):
    history = twenty_five_observations()
    for number, threads in enumerate((1, 2)):
        mixed = deepcopy(history)
        random.Random(threads).shuffle(mixed.days)
        random.Random(threads).shuffle(mixed.spells)
        folder = tmp_path / str(number)
        folder.mkdir()
        assert report_of(mixed.company(folder, threads=threads)) == report


def test_shuffled_outcomes_are_no_better_than_chance(tmp_path):
    dice = random.Random(3)
    history = ScoredHistory()
    for number in range(60):
        account = f"a{number}"
        history.spell(account, "2026-06-15" if number < 20 else None)
        history.day(account, "2026-05-31", dice.randint(0, 100))
    company = history.company(tmp_path)
    done = csm("backtest", folder=company.folder, environment=company.environment)
    assert done.status == 0
    assert "no better than chance" in done.stdout


def test_a_history_that_is_too_short_has_counts_and_no_auc(tmp_path):
    history = ScoredHistory()
    history.spell("a")
    history.day("a", "2026-09-30", 50)
    company = history.company(tmp_path)
    report = report_of(company, "--advise")
    assert (report["observations"], report["censored"], report["auc"], report["lift"]) == (0, 1, None, None)
    done = csm("backtest", "--html", "r.html", folder=company.folder, environment=company.environment)
    assert (done.status, done.stderr) == (0, "")
    assert "fewer than 10 churned accounts" in " ".join(done.stdout.split())


def test_the_report_says_first_which_scores_it_used(company):
    done = csm("backtest", folder=company.folder, environment=company.environment)
    assert done.status == 0
    assert "as_known" in done.stdout.splitlines()[0] + done.stdout.splitlines()[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--from", "2026-06-30", "--to", "2026-05-31"), "--from 2026-06-30 is after --to 2026-05-31"),
        (("--segment", "smb"), "no account has the segment 'smb'. There are 'unsegmented'."),
        (("--tenant", "x"), "no account has the tenant 'x'. There are 't'."),
        (("--every", "year"), "--every must be one of month, week"),
        (("--basis", "reconstructed"), "no account has a score with the basis reconstructed on a last day of a month"),
        (("--from", "2027-01-01"), "there is no scored day from 2027-01-01 to 2026-09-30"),
    ],
)
def test_bad_input_exits_with_2(company, arguments, message):
    done = csm("backtest", *arguments, folder=company.folder, environment=company.environment)
    assert (done.status, done.stdout) == (2, "")
    assert message in done.stderr


def test_html_is_written_to_a_file(company, tmp_path):
    file = tmp_path / "backtest.html"
    done = csm("backtest", "--html", str(file), folder=company.folder, environment=company.environment)
    assert done.status == 0
    assert file.read_text(encoding="utf-8").startswith("<!doctype html>")
    refused = csm("backtest", "--html", str(tmp_path), folder=company.folder, environment=company.environment)
    assert refused.status == 2


def test_the_asset_stores_the_observations_for_analysts(tmp_path):
    company = twenty_five_observations().company(tmp_path)
    done = company.csm("run", "--select", "csm_backtest", "--as-of", "2026-09-30")
    assert done.returncode == 0, done.stdout + done.stderr
    query = "select outcome, count(*) as n from csm_backtest_observations group by outcome order by outcome"
    stored = company.csm("sql", query, "--format", "json")
    # Without a lead, x1 and x2 churn; c2, c7, s3 and s6 end after the horizon, and stay.
    assert json.loads(stored.stdout) == [
        {"outcome": "censored", "n": 2},
        {"outcome": "churned", "n": 11},
        {"outcome": "stayed", "n": 12},
    ]
    described = company.csm("sql", "select comment from duckdb_columns() where column_name = 'horizon_days'")
    assert "horizon of the backtest" in described.stdout
