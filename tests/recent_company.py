"""A small company whose records reach until today: for what a schedule or a person in the UI runs, by the clock."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.conftest import Company, make_company

# Two accounts: every change is a large part of them.
WIDE = {"max_mean_score_swing": 100, "max_rag_changed_percent": 100}


def make_recent_company(parent: Path) -> Company:
    """Two customers, one of them used daily for forty days; partitions of the last thirty."""
    records = parent / "records"
    records.mkdir()
    today = datetime.now(UTC).date()
    days = [today - timedelta(days=number) for number in range(40)]
    files = {
        "accounts.csv": "account_id,account_name,plan,created_at\na1,Ahlers,pro,2025-01-01\na2,Bolt,pro,2025-01-01\n",
        "features.csv": "feature,module\nreports,core\n",
        "tickets.csv": f"ticket_id,account_id,opened_at,sentiment\nt1,a1,{days[20]},neutral\n",
        "usage_events.csv": "event_id,account_id,user_id,event_name,feature,occurred_at\n"
        + "".join(f"e{day},a1,u1,login,reports,{day}T00:10:00Z\n" for day in days),
    }
    for name, content in files.items():
        (records / name).write_text(content, encoding="utf-8")
    return make_company(parent, records, checks=WIDE, partitions_start=str(days[30]))
