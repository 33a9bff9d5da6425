"""Receipts: verifying 10,000 of them with the stand-alone file. The ratio is to parsing them as JSON."""

import json
import random

from benchmarks.measure import Measure, timed
from csm_core.health_scorer import CSMHealthScorer
from csm_core.receipts.rubric_document import rubric_hash, rubric_text
from csm_core.receipts.standalone import (
    FORMAT,
    canonical,
    checksums_of,
    hex_float,
    leaf_hash,
    next_level,
    problems_of,
    root_hash,
    sha256,
)
from csm_core.rubric import DEFAULT_AMBER_THRESHOLD, DEFAULT_CHURN_WINDOW_DAYS, DEFAULT_GREEN_THRESHOLD, FIELDS
from csm_core.schemas import CSMHealthSignals

RECEIPTS = 10_000
RECORDS = 12
DAY = "2026-09-30"


def run(_rows: int) -> list[Measure]:
    """Measure the verification of the receipts of a day."""
    lines, root = receipts()
    wrong: list[str] = []
    parsing = timed(lambda: [json.loads(line) for line in lines])
    seconds = timed(lambda: wrong.extend(problem for line in lines for problem in problems_of(line, {root})))
    if wrong:
        raise AssertionError(wrong[0])
    return [Measure("receipts", "verify", len(lines), seconds, seconds / parsing)]


def receipts() -> tuple[list[str], str]:
    """The receipts of a made-up day, and its root."""
    chosen = random.Random(7)
    rubric = json.loads(rubric_text())
    records = [{"entity": "tickets", "hash": sha256(str(at)), "key": f"t{at}"} for at in range(RECORDS)]
    statements = [_statement(f"A{at:05}", chosen, sha256(canonical(records))) for at in range(RECEIPTS)]
    levels = [[leaf_hash(one) for one in statements]]
    while len(levels[-1]) > 1:
        levels.append(next_level(levels[-1]))
    root = root_hash("default", DAY, RECEIPTS, levels[-1][0])
    lines: list[str] = []
    for index, statement in enumerate(statements):
        path = [level[(index >> at) ^ 1] for at, level in enumerate(levels[:-1]) if (index >> at) ^ 1 < len(level)]
        receipt = {
            "format": FORMAT,
            "proof": {"accounts": RECEIPTS, "index": index, "path": path, "root": root},
            "records": records,
            "rubric": rubric,
            "statement": statement,
        }
        lines.append(canonical({**receipt, "checksums": checksums_of(receipt)}))
    return lines, root


def _statement(account: str, chosen: random.Random, records_hash: str) -> dict[str, object]:
    signals = CSMHealthSignals(
        **{
            field.name: chosen.choice(field.levels)
            if field.kind == "level"
            else chosen.random()
            if field.kind == "rate"
            else chosen.randrange(10)
            for field in FIELDS
        }
    )
    score = CSMHealthScorer().score(signals, account)
    result = {
        name: getattr(score, name)
        for name in ("churn_risk_level", "churn_triggered_by", "rag", "raw_score", "score", "should_alert")
    }
    return {
        "account_id": account,
        "as_of_date": DAY,
        "code_version": "1",
        "config_hash": "0" * 16,
        "inputs": signals.model_dump(mode="json"),
        "known_from": f"{DAY}T07:00:00.000000Z",
        "points": score.signal_breakdown,
        "records_hash": records_hash,
        "result": {**result, "raw_score_hex": hex_float(score.raw_score), "score_hex": hex_float(score.score)},
        "rubric_hash": rubric_hash(),
        "tenant_id": "default",
        "thresholds": {
            "amber_threshold": DEFAULT_AMBER_THRESHOLD,
            "churn_window_days": DEFAULT_CHURN_WINDOW_DAYS,
            "green_threshold": DEFAULT_GREEN_THRESHOLD,
        },
    }
