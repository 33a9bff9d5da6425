"""``python -m tests.attack --mutations 5000 --kills 100``: look for tracebacks, losses and leaks."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
import tempfile
from pathlib import Path

from tests.attack import mutations, planted


def main() -> int:
    """Attack, and print a summary; exit status 1 for any finding."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__)
    parser.add_argument("--mutations", type=int, default=5000)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--processes", type=int, default=20, help="mutations that are also run as processes")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="csm_attack_") as temporary:
        folder = Path(temporary)
        found = mutations.attack(folder / "mutations", chosen.mutations, chosen.seed, in_processes=chosen.processes)
        leaks = planted.plant(folder / "secrets")
        kills = _kills(chosen.kills)
    tried = ", ".join(f"{name} {count:,}" for name, count in sorted(found.tried.items()))
    statuses = ", ".join(f"exit {status}: {count:,}" for status, count in sorted(found.statuses.items()))
    print(f"mutations  {chosen.mutations:,} ({tried}; {statuses})")
    print(f"secrets    {len(planted.VARIABLES)} variables, {len(planted.KINDS)} secrets each")
    print(f"kills      {'not installed' if kills is None else f'{chosen.kills:,}'}")
    for title, findings in (
        ("tracebacks and other faults", found.findings),
        ("losses", found.losses),
        ("leaks", leaks),
        ("kills", kills or []),
    ):
        print(f"{title:<28} {len(findings):,}")
        for finding in findings[:20]:
            print(f"  {finding[:500]}")
    return 1 if found.findings or found.losses or leaks or kills else 0


def _kills(times: int) -> list[str] | None:
    """What kills of backup and restore left behind; None where that part is not there."""
    if importlib.util.find_spec("tests.attack.kills") is None:
        return None
    module = importlib.import_module("tests.attack.kills")
    return list(module.run(times))


if __name__ == "__main__":
    sys.exit(main())
