"""The stand-alone verifier: it needs nothing but its file, agrees with the scorer, and names what was altered."""

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csm_core.health_scorer import CSMHealthScorer
from csm_core.receipts import standalone
from csm_core.receipts.rubric_document import rubric_text
from csm_core.receipts.standalone import problems_of, sha256, top_from_path, top_of
from csm_core.schemas import CSMHealthSignals
from tests.examples import examples
from tests.receipts.scored_accounts import publish, receipt_lines, roots, stage_accounts
from tests.scoring_cases import ROWS
from tests.sql.harness import fresh


@pytest.fixture(scope="module")
def line() -> str:
    with fresh() as connection:
        stage_accounts(connection)
        publish(connection)
        return receipt_lines(connection, account="north-03")[0]


@pytest.fixture(scope="module")
def root(line) -> str:
    return json.loads(line)["proof"]["root"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The file as a stranger runs it: without this project, in isolated mode and without installed packages."""
    return subprocess.run(
        [sys.executable, "-I", "-S", standalone.__file__, *arguments],
        capture_output=True,
        text=True,
        cwd="/",
        timeout=60,
        check=False,
    )


_TOKENS = re.compile(r'"(?P<key>(?:[^"\\]|\\.)*)":|"(?:[^"\\]|\\.)*"|[-+.0-9Ee]+|true|false|null')


def keys_of_values(line: str) -> dict[int, str]:
    """The key of the value that each character belongs to, for the characters of values."""
    found: dict[int, str] = {}
    key = ""
    for token in _TOKENS.finditer(line):
        if token["key"] is not None:
            key = token["key"]
        else:
            found |= dict.fromkeys(range(*token.span()), key)
    return found


def unnamed(line: str, root: str, at: int, bit: int, keys: dict[int, str]) -> list[str]:
    """Flip a bit of a character; what is wrong with the first problem, which says what was altered and names it."""
    altered = line[:at] + chr(ord(line[at]) ^ bit) + line[at + 1 :]
    first, *_ = [*problems_of(altered, {root}), "no problem"]
    says_altered = "altered" in first or "not a receipt" in first
    if says_altered and keys.get(at, "") in first:
        return []
    return [f"{line[max(at - 40, 0) : at + 5]!r} with {altered[at]!r}: {first}"]


@pytest.mark.slow
def test_every_altered_byte_is_found_and_its_value_named(line, root):
    chosen, keys = random.Random(7), keys_of_values(line)
    assert set(json.loads(line)["statement"]["inputs"]) <= set(keys.values())
    bits = [chosen.choice((1, 2, 4, 8, 16, 32, 64)) for _ in line]
    assert [fault for at, bit in enumerate(bits) for fault in unnamed(line, root, at, bit, keys)] == []


@settings(max_examples=examples(300))
@given(position=st.floats(0, 1, exclude_max=True), bit=st.sampled_from((1, 2, 4, 8, 16, 32, 64)))
def test_any_flipped_bit_is_found_and_its_value_named(line, root, position, bit):
    assert unnamed(line, root, int(position * len(line)), bit, keys_of_values(line)) == []


def test_the_altered_value_is_named(line, root):
    receipt = json.loads(line)
    for path, was, now in (
        ("statement.inputs.nps_score", '"nps_score":3', '"nps_score":4'),
        ("statement.account_id", '"account_id":"north-03"', '"account_id":"north-04"'),
        ("statement.inputs.support_sentiment", '"support_sentiment":"negative"', '"support_sentiment":"positive"'),
        ("proof.index", '"index":3', '"index":2'),
        ("proof.path[0]", receipt["proof"]["path"][0], "0" * 64),
        ("records[0].hash", receipt["records"][0]["hash"], "0" * 64),
        ("rubric.caps.AMBER", '"AMBER":0.95', '"AMBER":0.85'),
        ("statement.result.score_hex", receipt["statement"]["result"]["score_hex"], "0x1.9p+6"),
    ):
        assert was in line, (was, line)
        problems = problems_of(line.replace(was, now, 1), {root})
        assert problems[0] == f"{path} was altered: it does not match its checksum"


def test_values_that_were_altered_with_their_checksums_do_not_lead_to_the_root(line, root):
    receipt = json.loads(line)
    receipt["statement"]["inputs"]["nps_score"] = 10
    receipt["checksums"] = standalone.checksums_of(receipt)
    problems = problems_of(standalone.canonical(receipt), {root})
    assert problems == [
        "statement.points.nps_score is 0.0; the rubric gives 3.0",
        "the statement and proof.path do not lead to proof.root",
    ]


def test_a_receipt_that_follows_from_altered_inputs_still_needs_the_root(line, root):
    receipt = json.loads(line)
    receipt["statement"]["inputs"]["days_since_last_interaction"] += 1
    receipt["proof"]["root"] = "0" * 64
    receipt["checksums"] = standalone.checksums_of(receipt)
    problems = problems_of(standalone.canonical(receipt), {root})
    assert problems == ["the statement and proof.path do not lead to proof.root"]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "NaN", '{"a":1}', "[" * 100_000, '"\\ud800"', "1" * 5000])
def test_what_is_no_receipt_is_reported(text, root):
    assert problems_of(text, {root})


def test_the_file_runs_alone(line, root, tmp_path: Path):
    right, wrong, empty = tmp_path / "right.jsonl", tmp_path / "wrong.json", tmp_path / "empty"
    right.write_text(f"{line}\n{line}\n", encoding="utf-8")
    wrong.write_text(line.replace('"nps_score":3', '"nps_score":9'), encoding="utf-8")
    empty.touch()
    done = run("--root", root, str(right))
    assert (done.returncode, done.stdout, done.stderr) == (0, "2 receipts verified\n", "")
    done = run("--root", root, str(right), str(wrong))
    assert done.returncode == 1
    assert "wrong.json, line 1: statement.inputs.nps_score was altered" in done.stdout
    done = run("--root", "0" * 64, str(right))
    assert (done.returncode, "is not the given root" in done.stdout) == (1, True)
    assert run("--root", root, str(empty)).returncode == 2
    assert run("--root", root, str(tmp_path / "missing")).returncode == 2
    (tmp_path / "bytes").write_bytes(line.encode()[:300] + b"\xff" + line.encode()[301:])
    done = run("--root", root, str(tmp_path / "bytes"))
    assert (done.returncode, "not UTF-8 at byte 301" in done.stdout) == (1, True)


@given(st.integers(1, 70), st.data())
def test_a_path_leads_from_its_leaf_to_the_top_and_from_no_other(number, data):
    from csm_core.receipts.issue import path_of, tree_of

    leaves = [sha256(str(at)) for at in range(number)]
    index = data.draw(st.integers(0, number - 1))
    path, top = path_of(tree_of(leaves), index), top_of(leaves)
    assert top_from_path(leaves[index], index, number, path) == top
    for other in range(number):
        if other != index:
            assert top_from_path(leaves[index], other, number, path) != top
            assert top_from_path(leaves[other], index, number, path) != top
    assert top_from_path(leaves[index], index, number, [*path, "0" * 64]) is None


@settings(max_examples=examples(300))
@given(ROWS, st.floats(40, 90), st.integers(0, 120))
def test_points_and_results_are_those_of_the_scorer(signals, green, window):
    checked = CSMHealthSignals(**signals)
    score = CSMHealthScorer(green_threshold=green, amber_threshold=30.0, churn_window_days=window).score(checked, "a")
    rubric, inputs = json.loads(rubric_text()), checked.model_dump()
    points = {one["name"]: standalone.points_of(one, inputs) for one in rubric["signals"]}
    assert points == score.signal_breakdown
    thresholds = {"green_threshold": green, "amber_threshold": 30.0, "churn_window_days": window}
    result = standalone.result_of(points, inputs, thresholds, rubric)
    assert {name: getattr(score, name) for name in result if not name.endswith("_hex")} == {
        name: value for name, value in result.items() if not name.endswith("_hex")
    }
    assert float.fromhex(result["score_hex"]) == score.score


def test_the_root_commits_to_the_day_and_the_number_of_accounts(line):
    with fresh() as connection:
        stage_accounts(connection, 1)
        publish(connection)
        ((_, day, accounts, root, _),) = roots(connection)
        (only,) = receipt_lines(connection)
    assert (str(day), accounts, problems_of(only, {root})) == ("2026-06-30", 1, [])
    leaf = standalone.leaf_hash(json.loads(only)["statement"])
    assert root == standalone.root_hash("north", "2026-06-30", 1, leaf)
    assert root not in {leaf, standalone.root_hash("north", "2026-06-30", 2, leaf)}
