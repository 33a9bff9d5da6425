"""``python -m csm_core.sample_company FOLDER``: generates a fictional company on the command line."""

from __future__ import annotations

import argparse
import sys
from datetime import date
from pathlib import Path

from csm_core.errors import InputError
from csm_core.sample_company.generator import FORMATS, generate


def main(arguments: list[str] | None = None) -> int:
    """Generate a company; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m csm_core.sample_company", description="Generate a fictional company."
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--accounts", type=int, default=200)
    parser.add_argument("--days", type=int, default=275)
    parser.add_argument("--end", type=date.fromisoformat, default=date(2026, 9, 30), help="last day, YYYY-MM-DD")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--events-per-account-day", type=float, default=1.8)
    parser.add_argument("--format", choices=FORMATS, default="parquet")
    parser.add_argument("--per-day-files", action="store_true")
    parser.add_argument("--no-odd-records", action="store_true")
    parser.add_argument("--memory-limit", default=None)
    chosen = parser.parse_args(arguments)
    try:
        company = generate(
            chosen.folder,
            accounts=chosen.accounts,
            days=chosen.days,
            end=chosen.end,
            seed=chosen.seed,
            events_per_account_day=chosen.events_per_account_day,
            format=chosen.format,
            per_day_files=chosen.per_day_files,
            odd_records=not chosen.no_odd_records,
            memory_limit=chosen.memory_limit,
        )
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status
    for entity, count in company.counts.items():
        sys.stdout.write(f"{entity:<16}{count:>12,}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
