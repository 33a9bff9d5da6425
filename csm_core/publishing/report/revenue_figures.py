"""The figures of the portfolio report about revenue: renewals, MRR at risk and retention."""

from __future__ import annotations

from csm_core.publishing.report import charts
from csm_core.publishing.report.figures import ACCOUNTS_BY_BAND, Figure, Scope


def at_risk_by_month(scope: Scope) -> Figure:
    """MRR of accounts at high or critical churn risk, by the month of their renewal."""
    return Figure(
        key="at_risk_by_month",
        title="MRR at risk by renewal month",
        note="Accounts at high or critical churn risk with MRR, by the month of their renewal.",
        sql=f"""with {scope.accounts}

select
    strftime(renewal_date, '%Y-%m') as renewal_month,
    currency,
    count(*) as accounts,
    {scope.sums_of_mrr}
from accounts
where churn_risk_level in ('high', 'critical') and mrr > 0 and renewal_date is not null
group by renewal_month, currency
order by renewal_month, currency""",
        draw=charts.revenue_by_month(scope.reporting_currency),
        shown=36,
        empty="No account at high or critical churn risk has a renewal.",
    )


def renewal_windows(scope: Scope) -> Figure:
    """Accounts and MRR that renew within 30, 60, 90 and 180 days."""
    return Figure(
        key="renewal_windows",
        title="Renewals within 30, 60, 90 and 180 days",
        note="Each row includes the rows before it.",
        sql=f"""with {scope.accounts},

windows as (
    select unnest([30, 60, 90, 180]) as within_days
)

select
    windows.within_days,
    accounts.currency,
    count(*) as accounts,
    {ACCOUNTS_BY_BAND},
    {scope.sums_of_mrr}
from accounts
inner join windows
    on accounts.renewal_date between {scope.on_day} and {scope.on_day} + windows.within_days
group by windows.within_days, accounts.currency
order by windows.within_days, accounts.currency""",
        empty="No renewal within 180 days.",
    )


def renewals(scope: Scope) -> Figure:
    """The next renewals."""
    return Figure(
        key="renewals",
        title="Next renewals",
        note="Renewals within 180 days, the next first.",
        sql=f"""with {scope.accounts}

select
    renewal_date,
    account_name,
    account_id,
    csm_owner,
    mrr,
    currency,
    rag,
    score,
    churn_risk_level
from accounts
where renewal_date between {scope.on_day} and {scope.on_day} + 180
order by renewal_date, account_id""",
        shown=40,
        empty="No renewal within 180 days.",
    )


def retention(scope: Scope) -> Figure:
    """Revenue and logo retention per month, currency and window."""
    where = f"month_end <= {scope.on_day}" + scope.conditions("csm_retention_monthly")
    return Figure(
        key="retention",
        title="Retention",
        note="Of the accounts that had MRR at the start of the window: gross revenue retention is what is left of "
        "their MRR without expansion, net revenue retention includes expansion, logo retention counts accounts.",
        sql=f"""select
    month,
    currency,
    window_months,
    sum(accounts_start) as accounts_start,
    cast(sum(mrr_retained) as double) / cast(sum(mrr_start) as double) as gross_revenue_retention,
    cast(sum(mrr_end) as double) / cast(sum(mrr_start) as double) as net_revenue_retention,
    cast(sum(accounts_end) as double) / sum(accounts_start) as logo_retention
from csm_retention_monthly
where {where}
group by month, currency, window_months
having sum(mrr_start) > 0
order by window_months desc, month desc, accounts_start desc, currency""",
        draw=charts.retention,
        shown=36,
        folded=True,
        empty="No month has ended yet.",
    )
