"""The rubric as a plain document with a hash, so that a receipt can be verified without this version of csm-health."""

from __future__ import annotations

from functools import cache
from typing import Any

from csm_core.receipts.standalone import canonical, sha256
from csm_core.rubric import (
    ALERT_RAGS,
    ALERT_RISKS,
    BEHAVIOURAL_LOGIN_DAYS,
    BEHAVIOURAL_TRENDS,
    CHURN_RULES,
    CONTRACT_RAGS,
    RAGS,
    RUBRIC,
    TAM_CAPS,
    Levels,
    Rate,
    Signal,
)


@cache
def rubric_text() -> str:
    """Return the rubric as canonical JSON."""
    return canonical(
        {
            "alert_rags": list(ALERT_RAGS),
            "alert_risks": list(ALERT_RISKS),
            "behavioural_login_days": BEHAVIOURAL_LOGIN_DAYS,
            "behavioural_trends": list(BEHAVIOURAL_TRENDS),
            "caps": dict(TAM_CAPS),
            "churn_rules": [
                {
                    "behavioural": rule.behavioural,
                    "contract": rule.contract,
                    "risks": dict(rule.risks),
                    "trigger": rule.called,
                }
                for rule in CHURN_RULES
            ],
            "contract_rags": list(CONTRACT_RAGS),
            "rags": list(RAGS),
            "signals": [_signal(signal) for signal in RUBRIC],
        }
    )


@cache
def rubric_hash() -> str:
    """Return the hash of the rubric."""
    return sha256(rubric_text())


def _signal(signal: Signal) -> dict[str, Any]:
    deduction = signal.deduction
    return {
        "deduction": {"field": deduction.field, "maximum": deduction.maximum} if deduction else None,
        "name": signal.name,
        "rule": _rule(signal),
        "weight": signal.weight,
    }


def _rule(signal: Signal) -> dict[str, Any]:
    rule = signal.rule
    if isinstance(rule, Rate):
        return {"kind": "rate"}
    if isinstance(rule, Levels):
        return {"kind": "levels", "points": dict(rule.points)}
    bands = [[str(band.compare), band.edge, band.points] for band in rule.bands]
    return {"bands": bands, "kind": "bands", "otherwise": rule.otherwise, "unknown": rule.null}
