"""``python -m tests.mutations --records 20000``: mutated records of every source, accounted for to the last one."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import duckdb

from csm_core.logging import configure
from csm_core.sources.registry import record_kinds, system_names
from tests.mutations import contract_records, segment_calls, vendor_records


def main() -> int:
    """Mutate, compare, say what was found; exit status 1 where a record did not come out as it has to."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--records", type=int, default=20_000)
    arguments.add_argument("--seed", type=int, default=1)
    given = arguments.parse_args()
    configure(level="ERROR")
    systems = [name for name in system_names() if record_kinds(name)]
    # Kinds that are read only in part, and uneven shares, take some of them away.
    share = given.records * 6 // (5 * (len(systems) + 1))
    with tempfile.TemporaryDirectory() as folder:
        result = contract_records.mutate(Path(folder) / "files", share, given.seed)
        calls, differences = segment_calls.mutate(Path(folder) / "segment", share // 4, given.seed)
    print(f"files        {result.written:>7,} written, {result.counted:>7,} accounted for: {dict(result.outcomes)}")
    print(f"calls        {calls:>7,} written, {len(differences):>7,} differences")
    wrong, total = [*result.differences, *differences], result.written + calls
    for system in systems:
        with duckdb.connect() as connection:
            mutated, differences = vendor_records.mutate(connection, system, share, given.seed)
        print(f"{system:<12} {mutated:>7,} written, {len(differences):>7,} differences")
        wrong, total = wrong + differences, total + mutated
    for difference in wrong[:20]:
        print(f"  {difference}")
    print(f"{total:,} records, {len(wrong):,} differences")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
