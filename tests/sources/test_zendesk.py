"""Zendesk: files of its records, through a whole run."""

from __future__ import annotations

import pytest

from tests.sources.test_stripe import write_company, write_lines


@pytest.mark.slow
def test_a_reopened_ticket_is_open_on_the_days_on_which_it_was(tmp_path, company):
    records = tmp_path / "zendesk"
    ticket = {"id": 7, "organization_id": 5, "priority": "urgent", "tags": ["escalated"]}
    stated = {"status": "open", "created_at": "2026-06-15T08:00:00Z", "satisfaction_rating": {"score": "bad"}}
    write_lines(records / "organizations.jsonl", {"id": 5, "name": "One", "domain_names": ["one.example"]})
    write_lines(records / "tickets.jsonl", {**ticket, **stated})
    write_lines(
        records / "ticket_events.jsonl",
        *(
            {"id": n, "ticket_id": 7, "created_at": f"2026-06-{day}T09:00:00Z", "child_events": [{"status": status}]}
            for n, (day, status) in enumerate([("20", "solved"), ("25", "open")])
        ),
    )
    write_lines(
        records / "satisfaction_ratings.jsonl",
        {"id": 1, "ticket_id": 7, "score": "bad", "created_at": "2026-06-21T00:00:00Z"},
    )
    domains = tmp_path / "domains.csv"
    domains.write_text("account_id,domain\na1,one.example\n")
    made = company(
        write_company(tmp_path / "company"),
        sources=[
            {"system": "files", "path": str(tmp_path / "company")},
            {"system": "zendesk", "path": str(records)},
        ],
        identity={"account_domains": str(domains)},
        checks={"max_silent_days": 60},
    )
    done = made.csm("run", "--from", "2026-06-18", "--to", "2026-06-30", "--no-publish")
    assert done.returncode == 0, done.stdout + done.stderr
    found = made.query(
        "select day(as_of_date), open_ticket_count, escalation_count_90_days, support_sentiment "
        "from marts.csm_health_signals where account_id = 'a1' and day(as_of_date) in (18, 22, 30) order by 1"
    )
    assert found == [(18, 1, 1, "critical"), (22, 0, 1, "critical"), (30, 1, 1, "critical")]
