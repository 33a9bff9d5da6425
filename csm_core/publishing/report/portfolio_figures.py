"""The figures of the portfolio report in their order; those of bands, movers, owners, expansion and alerts are here."""

from __future__ import annotations

from csm_core.publishing.report import charts, data_figures, pulse_figures, revenue_figures
from csm_core.publishing.report.figures import ACCOUNTS_BY_BAND, Figure, Scope

_COMPARED = """compared as (
    select max(as_of_date) as as_of_date
    from csm_health_scores
    where as_of_date between {day} - 28 and {day} - 7
)"""


def portfolio_figures(scope: Scope) -> list[Figure]:
    """The figures of a scope, in the order of the page. Retention is left out for one owner: it has no owners."""
    figures = [
        _summary(scope),
        _bands(scope),
        _bands_over_time(scope),
        _movers(scope),
        revenue_figures.at_risk_by_month(scope),
        revenue_figures.renewal_windows(scope),
        revenue_figures.renewals(scope),
    ]
    if scope.owner is None:
        figures.append(revenue_figures.retention(scope))
    return [
        *figures,
        pulse_figures.disagreements(scope),
        *([] if scope.owner else [_owners(scope)]),
        *([] if scope.segment else [_segments(scope)]),
        _expansion(scope),
        _open_alerts(scope),
        _alerts(scope),
        data_figures.missing(scope),
        data_figures.sources(scope),
        data_figures.rejected(scope),
        data_figures.days(scope),
        data_figures.revisions(scope),
    ]


def _summary(scope: Scope) -> Figure:
    return Figure(
        key="summary",
        title="Today",
        note="Scored accounts, the mean of their scores, and the accounts to alert about.",
        sql=f"""with {scope.accounts}

select
    count(*) as accounts,
    {ACCOUNTS_BY_BAND},
    avg(score) as mean_score,
    count(*) filter (where should_alert) as to_alert_about
from accounts""",
    )


def _bands(scope: Scope) -> Figure:
    return Figure(
        key="bands",
        title="Bands today",
        note="Accounts and monthly recurring revenue of each band, per currency.",
        sql=f"""with {scope.accounts}

select
    rag,
    currency,
    count(*) as accounts,
    {scope.sums_of_mrr}
from accounts
group by rag, currency
order by rag desc, accounts desc, currency""",
    )


def _bands_over_time(scope: Scope) -> Figure:
    return Figure(
        key="bands_over_time",
        title="Bands over 90 days",
        note="Accounts of each band on each scored day.",
        sql=f"""select
    scores.as_of_date,
    {ACCOUNTS_BY_BAND}
from csm_health_scores as scores
inner join csm_accounts_daily as account_days
    on
        scores.account_id = account_days.account_id
        and scores.as_of_date = account_days.as_of_date
where scores.as_of_date between {scope.on_day} - 89 and {scope.on_day}{scope.conditions("account_days")}
group by scores.as_of_date
order by scores.as_of_date""",
        draw=charts.bands_over_time,
        shown=90,
        folded=True,
    )


def _movers(scope: Scope) -> Figure:
    return Figure(
        key="movers",
        title="Movers",
        note="The largest changes of the score since the latest scored day at least 7 days before, with the two "
        "signals that changed most in the same direction.",
        sql=f"""with {scope.accounts},

{_COMPARED.format(day=scope.on_day)},

changes as (
    select
        accounts.account_id,
        accounts.account_name,
        accounts.csm_owner,
        earlier.score as score_before,
        accounts.score,
        accounts.score - earlier.score as score_change,
        earlier.rag as rag_before,
        accounts.rag
    from accounts
    inner join csm_health_scores as earlier on accounts.account_id = earlier.account_id
    inner join compared on earlier.as_of_date = compared.as_of_date
    where abs(accounts.score - earlier.score) >= 1
),

signal_changes as (
    select
        changes.account_id,
        points.signal,
        points.points - earlier.points as points_change,
        row_number() over (
            partition by changes.account_id
            order by (points.points - earlier.points) * sign(changes.score_change) desc, points.signal
        ) as place
    from changes
    inner join csm_signal_points as points
        on changes.account_id = points.account_id and points.as_of_date = {scope.on_day}
    inner join csm_signal_points as earlier
        on points.account_id = earlier.account_id and points.signal = earlier.signal
    inner join compared on earlier.as_of_date = compared.as_of_date
    where (points.points - earlier.points) * sign(changes.score_change) > 0
)

select
    changes.account_name,
    changes.account_id,
    changes.csm_owner,
    changes.rag_before,
    changes.rag,
    changes.score_before,
    changes.score,
    changes.score_change,
    first_signal.signal as signal_1,
    first_signal.points_change as change_1,
    second_signal.signal as signal_2,
    second_signal.points_change as change_2
from changes
left join signal_changes as first_signal
    on changes.account_id = first_signal.account_id and first_signal.place = 1
left join signal_changes as second_signal
    on changes.account_id = second_signal.account_id and second_signal.place = 2
order by abs(changes.score_change) desc, changes.account_id""",
        empty="No score changed by a point or more.",
    )


def _group(scope: Scope, column: str, title: str, key: str) -> Figure:
    return Figure(
        key=key,
        title=title,
        note="Accounts by band, accounts to alert about, and renewals within 90 days.",
        sql=f"""with {scope.accounts}

select
    {column},
    count(*) as accounts,
    {ACCOUNTS_BY_BAND},
    avg(score) as mean_score,
    count(*) filter (where should_alert) as to_alert_about,
    count(*) filter (where renewal_date between {scope.on_day} and {scope.on_day} + 90) as renewals_within_90_days
from accounts
group by {column}
order by red desc, amber desc, {column}""",
        draw=charts.bands_by(column),
        shown=40,
    )


def _owners(scope: Scope) -> Figure:
    return _group(scope, "csm_owner", "Owners", "owners")


def _segments(scope: Scope) -> Figure:
    return _group(scope, "segment", "Segments", "segments")


def _expansion(scope: Scope) -> Figure:
    return Figure(
        key="expansion",
        title="Expansion pipeline",
        note="Open opportunities of the day by type and confidence, with their estimated annual revenue.",
        sql=f"""with {scope.accounts}

select
    opportunities.opportunity_type,
    opportunities.confidence,
    opportunities.currency,
    count(*) as opportunities,
    count(distinct opportunities.account_id) as accounts,
    sum(opportunities.estimated_arr_impact) as estimated_arr_impact
from csm_expansion_opportunities as opportunities
inner join accounts on opportunities.account_id = accounts.account_id
where opportunities.as_of_date = {scope.on_day}
group by opportunities.opportunity_type, opportunities.confidence, opportunities.currency
order by opportunities.opportunity_type, opportunities.confidence, opportunities.currency""",
        empty="No open opportunity.",
    )


def _open_alerts(scope: Scope) -> Figure:
    return Figure(
        key="open_alerts",
        title="Open alerts",
        note="Alerts that were pending or firing after the last evaluated day up to the day of the report, of accounts "
        "that are scored on it; the severe ones first.",
        sql=f"""with {scope.accounts},

changes as (
    select
        rule,
        account_id,
        to_state as state,
        as_of_date as since,
        row_number() over (partition by rule, account_id order by event_id desc) as place
    from sync.alert_events
    where as_of_date <= {scope.on_day}
)

select
    accounts.account_name,
    accounts.account_id,
    accounts.csm_owner,
    changes.rule,
    states.severity,
    changes.state,
    changes.since,
    accounts.rag,
    accounts.score
from changes
inner join accounts on changes.account_id = accounts.account_id
left join sync.alert_states as states
    on changes.rule = states.rule and changes.account_id = states.account_id
where changes.place = 1 and changes.state <> 'resolved'
order by
    list_position(['critical', 'high', 'medium', 'low'], states.severity),
    changes.state,
    changes.since,
    accounts.account_id,
    changes.rule""",
        shown=30,
        empty="No alert is open.",
    )


def _alerts(scope: Scope) -> Figure:
    return Figure(
        key="alerts",
        title="Accounts to alert about",
        note="RED accounts and accounts at high or critical churn risk, those with the most MRR first.",
        sql=f"""with {scope.accounts}

select
    accounts.account_name,
    accounts.account_id,
    accounts.csm_owner,
    accounts.rag,
    accounts.score,
    accounts.churn_risk_level,
    scores.churn_triggered_by,
    accounts.mrr,
    accounts.currency,
    accounts.renewal_date
from accounts
inner join csm_health_scores as scores on accounts.account_id = scores.account_id
where scores.as_of_date = {scope.on_day} and accounts.should_alert
order by accounts.mrr desc nulls last, accounts.account_id""",
        shown=30,
    )
