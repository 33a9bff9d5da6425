"""Unusual records of the fictional company, as they appear in real exports."""

from __future__ import annotations

# Records after all others in the file, with the same columns: corrections of earlier records (the later record counts),
# ties, and planned events.
ODD: dict[str, str] = {
    "accounts": """
select account_id, account_name, tenant_id, segment, plan, 'Grace Liu', created_at, churned_at, country
from entity_row
where account_id in (wide_id('A', 3), wide_id('A', 7))
""",
    "subscriptions": """
select subscription_id, account_id, seats, mrr, currency, started_at, renews_at, ended_at, 'corrected'
from entity_row
where subscription_id = 'S' || substr(wide_id('A', 9), 2) || '-1'
""",
    "invoices": """
select invoice_id, account_id, amount_due, currency, issued_at, due_at,
    strftime(getvariable('end_date'), '%Y-%m-%d') || 'T09:30:00Z', voided_at
from (select * from entity_row where paid_at is null and voided_at is null order by invoice_id limit 2) as latest_unpaid
union all
select 'I-credit', wide_id('A', 2), '-50.00', 'USD', strftime(getvariable('end_date') - 40, '%Y-%m-%d'),
    null, null, null
union all
select 'I-scheduled', wide_id('A', 4), '120.00', 'USD',
    strftime(getvariable('end_date') + 1, '%Y-%m-%d') || 'T00:00:00Z',
    strftime(getvariable('end_date') + 1, '%Y-%m-%d'), null, null
""",
    "tickets": """
select ticket_id, account_id, opened_at, strftime(getvariable('end_date'), '%Y-%m-%d') || 'T08:15:00+02:00', priority,
    sentiment, escalated_at, 'Solved since: ' || subject
from (select * from entity_row where solved_at is null order by ticket_id limit 3) as still_open
""",
    "nps_responses": """
select response_id, account_id, respondent_id, '6', responded_at, 'changed my mind'
from (select * from entity_row order by response_id limit 1) as first_response
""",
    "interactions": """
select 'C-planned-' || account_id, account_id, account_id || '.c1', 'executive_sponsor', 'meeting',
    strftime(getvariable('end_date') + 5, '%Y-%m-%d') || 'T09:00:00Z'
from account
where i in (10, 20, 30)
""",
    "tam_assessments": """
select 'M-tie-' || tie.rag, wide_id('A', 1), tie.rag, strftime(getvariable('end_date') - 2, '%Y-%m-%d') || 'T12:00:00Z'
from (values ('GREEN'), ('AMBER')) as tie (rag)
""",
}

# Records that must be quarantined, each for a different reason.
BROKEN: dict[str, str] = {
    "accounts": """
values
    ('A-noname', null, null, 'smb', 'starter', null, '2026-01-05', null, 'US'),
    (null, 'No Id Ltd', null, 'smb', 'starter', null, '2026-01-05', null, 'US')
""",
    "subscriptions": """
select * from (values
    ('S-bad-1', wide_id('A', 1), '-5', '100.00', 'USD', '2026-02-01', null, null, 'starter'),
    ('S-bad-2', wide_id('A', 2), '5', 'about 100', 'USD', '2026-02-01', null, null, 'starter')
) as broken
""",
    "invoices": """
select * from (values
    ('I-bad-1', wide_id('A', 1), '100.00', 'USD', '31/02/2026', null, null, null),
    ('I-bad-2', 'A-unknown', '100.00', 'USD', '2026-03-01', '2026-03-31', null, null),
    ('I-bad-3', wide_id('A', 3), 'n/a', 'USD', '2026-03-01', '2026-03-31', null, null),
    ('I-bad-4', wide_id('A', 4), '100.00', 'Dollars', '2026-03-01', '2026-03-31', null, null)
) as broken
""",
    "tickets": """
select * from (values
    ('T-bad-1', wide_id('A', 1), '2026-05-05T10:00:00Z', null, 'high', 'furious', null, 'No such sentiment'),
    ('T-bad-2', wide_id('A', 2), 'yesterday', null, 'high', 'negative', null, 'No such day'),
    ('T-bad-3', 'A-unknown', '2026-05-05T10:00:00Z', null, 'low', 'neutral', null, 'Whose is it?')
) as broken
""",
    "nps_responses": """
select * from (values
    ('N-bad-1', wide_id('A', 1), wide_id('A', 1) || '.c1', '11', '2026-05-05T10:00:00Z', 'off the scale'),
    ('N-bad-2', wide_id('A', 2), null, '9', '2026-05-05T10:00:00Z', 'who?')
) as broken
""",
    "interactions": """
select * from (values
    ('C-bad-1', wide_id('A', 1), null, null, null, '2026-05-05T10:00:00Z'),
    ('C-bad-2', 'A-unknown', null, null, 'call', '2026-05-05T10:00:00Z')
) as broken
""",
    "tam_assessments": """
select * from (values
    ('M-bad-1', wide_id('A', 1), 'PURPLE', '2026-05-05T10:00:00Z')
) as broken
""",
}
