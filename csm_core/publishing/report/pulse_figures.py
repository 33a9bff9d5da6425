"""The figures of the reports about pulses: those of an account, and the disagreements of scores in the portfolio."""

from __future__ import annotations

from csm_core.publishing.report.figures import Figure, Scope


def disagreements(scope: Scope) -> Figure:
    """Accounts whose band disagrees with the pulse of their owner or with their MRR."""
    return Figure(
        key="disagreements",
        title="Disagreements",
        note="Against the pulse: GREEN accounts with a pulse of 1 or 2, and RED accounts with 4 or 5. Against the MRR: "
        "GREEN accounts whose MRR is lower than 90 days before, and RED accounts whose MRR is higher.",
        sql=f"""with {scope.accounts}

select
    case disagreements.kind when 'score_against_pulse' then 'pulse' else 'MRR' end as against,
    accounts.account_name,
    accounts.account_id,
    accounts.csm_owner,
    accounts.rag,
    accounts.score,
    disagreements.pulse,
    disagreements.pulse_age_days,
    disagreements.mrr_before,
    disagreements.mrr,
    disagreements.currency
from csm_disagreements as disagreements
inner join accounts on disagreements.account_id = accounts.account_id
where disagreements.as_of_date = {scope.on_day}
order by disagreements.kind desc, accounts.rag, accounts.account_id""",
        shown=30,
        empty="No score disagrees with a pulse or with the MRR.",
    )


def pulses(account: str, on_day: str) -> Figure:
    """The pulses of an account in the last year; ``account`` and ``on_day`` are SQL literals."""
    return Figure(
        key="pulses",
        title="Pulse",
        note="The judgement of the owner, 1 (very poor) to 5 (very good), the latest first, with the days on which it "
        "counted. It does not change the score.",
        sql=f"""select
    min(as_of_date) as first_day,
    max(as_of_date) as last_day,
    pulse,
    pulse_note,
    author
from csm_pulses_daily
where account_id = {account} and as_of_date between {on_day} - 364 and {on_day}
group by set_on, pulse, pulse_note, author
order by first_day desc""",
        shown=12,
        empty="The owner set no pulse in the last year.",
    )
