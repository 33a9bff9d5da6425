"""The figures of the report on one account: score, points, usage, contract, reviews and opportunities."""

from __future__ import annotations

from datetime import date

from csm_core.publishing.report import charts, pulse_figures
from csm_core.publishing.report.figures import Figure, day_sql
from csm_core.warehouse.models import literal

_WEEKS = 26


def account_figures(account_id: str, day: date) -> list[Figure]:
    """The figures of an account on a scored day, in the order of the page."""
    account, on_day = literal(account_id), day_sql(day)
    return [
        _summary(account, on_day),
        _score_over_time(account, on_day),
        _moves(account, on_day),
        _points(account, on_day),
        _next_band(account, on_day),
        _usage(account, on_day),
        _weeks(account, on_day),
        _tickets(account, on_day),
        _invoices(account, on_day),
        _contract(account, on_day),
        _movements(account, on_day),
        pulse_figures.pulses(account, on_day),
        _reviews(account, on_day),
        _opportunities(account, on_day),
    ]


def _summary(account: str, on_day: str) -> Figure:
    return Figure(
        key="summary",
        title="Today",
        note="The score and the contract on the day of the report.",
        sql=f"""select
    scores.score,
    scores.rag,
    scores.churn_risk_level,
    scores.churn_triggered_by,
    account_days.csm_owner,
    account_days.segment,
    account_days.plan,
    account_days.seats,
    account_days.mrr,
    account_days.currency,
    account_days.renewal_date,
    account_days.tenure_days,
    pulses.pulse,
    pulses.pulse_age_days
from csm_health_scores as scores
inner join csm_accounts_daily as account_days
    on
        scores.account_id = account_days.account_id
        and scores.as_of_date = account_days.as_of_date
left join csm_pulses_daily as pulses
    on
        scores.account_id = pulses.account_id
        and scores.as_of_date = pulses.as_of_date
where scores.account_id = {account} and scores.as_of_date = {on_day}""",
    )


def _score_over_time(account: str, on_day: str) -> Figure:
    return Figure(
        key="score_over_time",
        title="Score over a year",
        note="The score of each day; the lines are the thresholds that applied on the last one.",
        sql=f"""select
    as_of_date,
    score,
    rag,
    green_threshold,
    amber_threshold
from csm_health_scores
where account_id = {account} and as_of_date between {on_day} - 364 and {on_day}
order by as_of_date""",
        draw=charts.score_over_time,
        shown=366,
        folded=True,
        undisplayed=("green_threshold", "amber_threshold"),
    )


def _moves(account: str, on_day: str) -> Figure:
    return Figure(
        key="moves",
        title="What moved the score",
        note="Changes of a signal by a point or more from one scored day to the next, the latest first.",
        sql=f"""with signal_days as (
    select
        as_of_date,
        signal,
        value,
        points,
        lag(value) over (partition by signal order by as_of_date) as value_before,
        lag(points) over (partition by signal order by as_of_date) as points_before
    from csm_signal_points
    where account_id = {account} and as_of_date between {on_day} - 364 and {on_day}
)

select
    as_of_date,
    signal,
    value_before,
    value,
    points - points_before as points_change
from signal_days
where abs(points - points_before) >= 1
order by as_of_date desc, abs(points - points_before) desc, signal""",
        shown=25,
        empty="No signal changed by a point or more.",
    )


def _points(account: str, on_day: str) -> Figure:
    return Figure(
        key="points",
        title="Points against weights",
        note="What each signal adds to the score, out of its weight; the largest losses first.",
        sql=f"""select
    signal,
    value,
    fact,
    points,
    weight
from csm_signal_points
where account_id = {account} and as_of_date = {on_day}
order by weight - points desc, signal""",
        draw=charts.points_of_weights,
    )


def _next_band(account: str, on_day: str) -> Figure:
    return Figure(
        key="next_band",
        title="What would reach the next band",
        note="The points that each signal can still add, and whether that alone reaches the next band. If an "
        "assessment of the technical account manager caps the score, it has to improve first.",
        sql=f"""with missing as (
    select
        account_id,
        as_of_date,
        score < raw_score as is_capped,
        case rag when 'RED' then amber_threshold when 'AMBER' then green_threshold end - score as points_needed
    from csm_health_scores
    where account_id = {account} and as_of_date = {on_day}
)

select
    points.signal,
    points.value,
    points.weight - points.points as points_to_gain,
    missing.points_needed,
    not missing.is_capped and points.weight - points.points >= missing.points_needed as reaches_the_next_band
from csm_signal_points as points
inner join missing
    on points.account_id = missing.account_id and points.as_of_date = missing.as_of_date
where missing.points_needed is not null and points.weight > points.points
order by points_to_gain desc, points.signal""",
        empty="The account is GREEN, the highest band.",
    )


def _usage(account: str, on_day: str) -> Figure:
    return Figure(
        key="usage",
        title="Usage by feature and week",
        note="Users and events of each feature in the adoption window that ends on the day, at intervals of a week.",
        sql=f"""select
    as_of_date,
    coalesce(display_name, feature) as feature,
    users_in_window,
    events_in_window
from csm_feature_adoption
where
    account_id = {account}
    and as_of_date between {on_day} - {7 * (_WEEKS - 1)} and {on_day}
    and (as_of_date - {on_day}) % 7 = 0
    and events_in_window > 0
order by as_of_date desc, events_in_window desc, feature""",
        draw=charts.events_over_time,
        shown=60,
        folded=True,
        empty="No usage in the last half year.",
    )


def _weeks(account: str, on_day: str) -> Figure:
    return Figure(
        key="weeks",
        title="Users, tickets, invoices and interactions",
        note="The measures behind the signals, at intervals of a week.",
        sql=f"""select
    as_of_date,
    seats_utilization_rate,
    open_ticket_count,
    escalation_count_90_days as escalations,
    support_sentiment,
    invoice_payment_status,
    days_since_last_interaction,
    stakeholder_engagement,
    nps_score
from csm_health_signals
where
    account_id = {account}
    and as_of_date between {on_day} - {7 * (_WEEKS - 1)} and {on_day}
    and (as_of_date - {on_day}) % 7 = 0
order by as_of_date desc""",
        shown=12,
    )


def _tickets(account: str, on_day: str) -> Figure:
    return Figure(
        key="tickets",
        title="Tickets",
        note="Of the latest tickets, those that were open on the day first, then the latest ones.",
        sql=f"""with known as (
    select
        ticket_id,
        opened_on,
        priority,
        sentiment,
        case when escalated_on <= {on_day} then escalated_on end as escalated_on,
        case when solved_on <= {on_day} then solved_on end as solved_on
    from csm_tickets
    where account_id = {account} and opened_on <= {on_day}
)

select
    ticket_id,
    case when solved_on is null then 'open' else 'solved' end as state,
    opened_on,
    solved_on,
    date_diff('day', opened_on, coalesce(solved_on, {on_day})) as days_open,
    priority,
    sentiment,
    escalated_on
from known
order by solved_on is not null, opened_on desc, ticket_id""",
        shown=15,
        empty="No ticket was opened.",
    )


def _invoices(account: str, on_day: str) -> Figure:
    return Figure(
        key="invoices",
        title="Invoices",
        note="Of the latest invoices, those that were overdue or open on the day first, then the latest ones.",
        sql=f"""with known as (
    select
        invoice_id,
        issued_on,
        coalesce(due_on, issued_on) as due_on,
        case when paid_on <= {on_day} then paid_on end as paid_on,
        amount_due,
        currency,
        case
            when voided_on <= {on_day} then 'voided'
            when paid_on <= {on_day} then 'paid'
            when coalesce(amount_due, 0) <= 0 then 'nothing due'
            when coalesce(due_on, issued_on) < {on_day} then 'overdue'
            else 'open'
        end as state
    from csm_invoices
    where account_id = {account} and issued_on <= {on_day}
)

select
    invoice_id,
    state,
    issued_on,
    due_on,
    paid_on,
    case when state = 'overdue' then date_diff('day', due_on, {on_day}) end as days_overdue,
    amount_due,
    currency
from known
order by state not in ('overdue', 'open'), issued_on desc, invoice_id""",
        shown=15,
        empty="No invoice was issued.",
    )


def _contract(account: str, on_day: str) -> Figure:
    return Figure(
        key="contract",
        title="Contract and MRR",
        note="At the end of each month, and on the day of the report.",
        sql=f"""select
    as_of_date,
    plan,
    csm_owner,
    seats,
    mrr,
    currency,
    renewal_date
from csm_accounts_daily
where
    account_id = {account}
    and as_of_date between {on_day} - 549 and {on_day}
    and (as_of_date = last_day(as_of_date) or as_of_date = {on_day})
order by as_of_date desc""",
        draw=charts.revenue_over_time,
    )


def _movements(account: str, on_day: str) -> Figure:
    return Figure(
        key="movements",
        title="Changes of MRR",
        note="Months in which the MRR changed: start + new + expansion − contraction − churn + reactivation = end.",
        sql=f"""select
    month,
    currency,
    mrr_start,
    new,
    expansion,
    contraction,
    churn,
    reactivation,
    mrr_end
from csm_revenue_movements
where account_id = {account} and month_end <= {on_day} and mrr_start is distinct from mrr_end
order by month desc, currency""",
        empty="The MRR did not change.",
    )


def _reviews(account: str, on_day: str) -> Figure:
    return Figure(
        key="reviews",
        title="Business reviews",
        note="Reviews that were due, the latest first.",
        sql=f"""select
    as_of_date,
    period,
    score_start,
    score_end,
    rag_start,
    rag_end,
    active_users,
    active_users_previous,
    tickets_solved
from csm_qbr
where account_id = {account} and as_of_date <= {on_day}
order by as_of_date desc, period""",
        shown=8,
        empty="No review was due.",
    )


def _opportunities(account: str, on_day: str) -> Figure:
    return Figure(
        key="opportunities",
        title="Expansion opportunities",
        note="Open on the day of the report.",
        sql=f"""select
    opportunity_type,
    subject,
    evidence,
    confidence,
    estimated_arr_impact,
    currency
from csm_expansion_opportunities
where account_id = {account} and as_of_date = {on_day}
order by opportunity_type, subject""",
        empty="None.",
    )
