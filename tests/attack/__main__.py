"""``python -m tests.attack --mutations 5000 --kills 100``: look for tracebacks, losses and leaks."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.attack import kills, mutations, planted


def main(arguments: Sequence[str] | None = None) -> int:
    """Attack, and print a summary; exit status 1 for any finding."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__)
    parser.add_argument("--mutations", type=int, default=5000)
    parser.add_argument("--kills", type=int, default=100, help="of backup, and of restore")
    parser.add_argument("--processes", type=int, default=20, help="mutations that are also run as processes")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="csm_attack_") as temporary:
        folder = Path(temporary)
        # First, since its processes are forked: nothing may have opened a database in this one.
        lost = kills.strike(folder / "kills", chosen.kills, seed=chosen.seed)
        found = mutations.attack(folder / "mutations", chosen.mutations, chosen.seed, in_processes=chosen.processes)
        leaks = planted.plant(folder / "secrets")
    tried = ", ".join(f"{name} {count:,}" for name, count in sorted(found.tried.items()))
    statuses = ", ".join(f"exit {status}: {count:,}" for status, count in sorted(found.statuses.items()))
    print(f"mutations  {chosen.mutations:,} ({tried}; {statuses})")
    print(f"secrets    {len(planted.VARIABLES)} variables, {len(planted.KINDS)} secrets each")
    print(f"kills      {chosen.kills:,} of each of {', '.join(kills.COMMANDS)}")
    for title, findings in (
        ("tracebacks and other faults", found.findings),
        ("losses", found.losses),
        ("leaks", leaks),
        ("faults after kills", lost),
    ):
        print(f"{title:<28} {len(findings):,}")
        for finding in findings[:20]:
            print(f"  {finding[:500]}")
    return 1 if found.findings or found.losses or leaks or lost else 0


if __name__ == "__main__":
    sys.exit(main())
