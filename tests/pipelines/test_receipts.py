"""`csm receipt` and `csm verify` on the example company: what a user sees, and the exit status."""

import json
import subprocess
import sys

import pytest

from csm_core.receipts import standalone
from tests.conftest import Company


@pytest.fixture(scope="module")
def receipts(acme: Company, tmp_path_factory):
    """The receipts of the newest day, in a file."""
    file = tmp_path_factory.mktemp("receipts") / "day.jsonl"
    done = acme.csm("receipt", "--all")
    assert (done.returncode, done.stderr) == (0, "")
    file.write_text(done.stdout, encoding="utf-8")
    return file


def test_the_receipts_of_a_day_are_right_with_and_without_csm_health(acme: Company, receipts):
    lines = receipts.read_text(encoding="utf-8").split("\n")[:-1]
    roots = {json.loads(line)["proof"]["root"] for line in lines}
    assert sorted(
        root for (root,) in acme.query("select root from marts.csm_day_roots where as_of_date = '2026-09-30'")
    ) == (sorted(roots))
    assert all(json.loads(line)["records"] for line in lines)
    verified = acme.csm("verify", str(receipts), "--json")
    assert (verified.returncode, len(json.loads(verified.stdout))) == (0, len(lines))
    given = [argument for root in roots for argument in ("--root", root)]
    alone = subprocess.run(
        [sys.executable, "-I", "-S", standalone.__file__, *given, str(receipts)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (alone.returncode, alone.stdout) == (0, f"{len(lines)} receipts verified\n")


def test_the_receipt_of_an_account_has_the_stored_score(acme: Company, receipts):
    (line,) = acme.csm("receipt", "A0100", "--as-of", "2026-09-29").stdout.splitlines()
    statement = json.loads(line)["statement"]
    ((score, config_hash),) = acme.query(
        "select score, config_hash from marts.csm_health_scores "
        "where account_id = 'A0100' and as_of_date = '2026-09-29'"
    )
    assert (statement["result"]["score"], statement["config_hash"]) == (score, config_hash)
    assert float.fromhex(statement["result"]["score_hex"]) == score
    assert sum(statement["points"].values()) == pytest.approx(statement["result"]["raw_score"])


def test_an_altered_receipt_is_reported(acme: Company, receipts, tmp_path):
    first = receipts.read_text(encoding="utf-8").split("\n")[0]
    day = json.loads(first)["statement"]["as_of_date"]
    (tmp_path / "altered.json").write_text(first.replace(f'"as_of_date":"{day}"', '"as_of_date":"2026-09-29"') + "\n")
    done = acme.csm("verify", str(tmp_path / "altered.json"))
    assert done.returncode == 1
    assert "altered.json, line 1: statement.as_of_date was altered" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("receipt",), "name one account, or use --all"),
        (("receipt", "A0100", "--all"), "name one account, or use --all"),
        (("receipt", "nobody-at-all"), "no account 'nobody-at-all' has been scored"),
        (("receipt", "A0100", "--as-of", "2026-08-01"), "2026-08-01 is not scored"),
        (("receipt", "A0100", "--known-at", "2020-01-01"), "nothing was published about 2026-09-30 at 2020-01-01"),
        (("verify", "missing.json"), "missing.json cannot be read: No such file or directory"),
    ],
)
def test_wrong_input_ends_with_a_message_and_status_2(acme: Company, arguments, message):
    done = acme.csm(*arguments)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr
