-- Grain: one row per customer on the newest day that counts (see csm_days).
-- Definition: few columns of csm_health_current, in the order in which they are read.
-- Worked example: each row of csm_health_current => one row with its score, band and renewal.

select
    account_name,
    csm_owner,
    segment,
    mrr,
    currency,
    score,
    rag,
    score_change_28d,
    churn_risk_level,
    renewal_date,
    should_alert,
    mrr_reporting,
    reporting_currency,
    tenant_id,
    account_id,
    as_of_date
from marts.csm_health_current
order by tenant_id, account_id
