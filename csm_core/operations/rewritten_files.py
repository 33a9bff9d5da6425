"""Rewrites files without an erased account: DuckDB keeps deleted data in free blocks, and sources keep landed files.

Every file is replaced by a rename, so that a killed process leaves the previous or the new file.
"""

from __future__ import annotations

import gzip
import os
import re
from pathlib import Path

import duckdb

from csm_core.errors import WarehouseError
from csm_core.ingest.load_ledger import digest_in, file_fingerprint
from csm_core.operations.backup_content import SOURCES
from csm_core.operations.erased_rows import PLACES, ErasedAccount, reference_pattern
from csm_core.system.checksums import write_through
from csm_core.system.file_access import give_group
from csm_core.warehouse.models import literal, quoted

_FRESH = "rewritten"


def rewrite_warehouse(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Copy all rows to a new file and rename it over the warehouse, while the connection is open.

    No other process can write: it waits for the lock of the file. Close the connection afterwards; it has the previous
    file, which then no longer exists. Raises WarehouseError, without any change, if a table has another row count.
    """
    fresh = path.with_name(f".{path.name}.{_FRESH}")
    for leftover in (fresh, fresh.with_name(f"{fresh.name}.wal")):
        leftover.unlink(missing_ok=True)
    row = connection.execute("select current_database()").fetchone()
    current = str(row[0]) if row else ""
    connection.execute("checkpoint")
    connection.execute(f"attach {literal(str(fresh))} as {_FRESH}")
    try:
        connection.execute(f"copy from database {quoted(current)} to {_FRESH}")
        tables = connection.execute(
            "select schema_name, table_name from duckdb_tables() where database_name = current_database() "
            "and not temporary order by all"
        ).fetchall()
        for schema, table in tables:
            name = f"{quoted(schema)}.{quoted(table)}"
            counts = connection.execute(
                f"select (select count(*) from {name}), (select count(*) from {_FRESH}.{name})"
            ).fetchone()
            if counts and counts[0] != counts[1]:
                message = (
                    f"the copy of {schema}.{table} has {counts[1]} rows instead of {counts[0]}. The warehouse was not "
                    "replaced; run csm forget again"
                )
                raise WarehouseError(message)
        connection.execute(f"checkpoint {_FRESH}")
    finally:
        connection.execute(f"detach {_FRESH}")
    write_through(fresh)
    give_group(fresh)
    fresh.replace(path)
    write_through(path.parent)


def rewrite_landed_files(connection: duckdb.DuckDBPyConnection, home: Path, account: ErasedAccount) -> list[Path]:
    """Remove the account's records from the files of sources beside the warehouse; returns the rewritten files.

    Lines of JSON are emptied, so that other lines keep their numbers. Copies of tables (Parquet) with a record of the
    account are deleted: the next run copies the table again. ``find_places`` comes first.
    """
    folder = home / SOURCES
    rewritten: list[Path] = []
    if not folder.is_dir():
        return rewritten
    places: dict[str, set[int]] = {}
    for file, line in connection.execute(f"select distinct _source_file, _source_line from {PLACES}").fetchall():
        places.setdefault(str(file), set()).add(int(line))
    identifiers = [account.account_id, *(one.rpartition("/")[2] for _, one in account.external_ids)]
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        if path.name.endswith((".jsonl", ".jsonl.gz")):
            lines = next(
                (found for name, found in places.items() if Path(name) == path or path.match(name)), set[int]()
            )
            changed = _empty_lines(path, lines, identifiers)
        elif path.suffix == ".parquet":
            changed = _has_record(connection, path, identifiers)
            if changed:
                path.unlink()
        else:
            continue
        if changed:
            rewritten.append(path)
            _keep_load(connection, path)
    return rewritten


def _keep_load(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Record the new size and fingerprint of a loaded file, so that the next run does not load it again."""
    if not path.is_file():
        return
    loads = connection.execute("select load_id, fingerprint from raw.loads where path = ?", [str(path)]).fetchall()
    stat = path.stat()
    for load_id, fingerprint in loads:
        connection.execute(
            "update raw.loads set file_size = ?, file_mtime_ns = ?, fingerprint = ? where load_id = ? and path = ?",
            [stat.st_size, stat.st_mtime_ns, file_fingerprint(path, digest_in(fingerprint)), load_id, str(path)],
        )


def _empty_lines(path: Path, numbers: set[int], identifiers: list[str]) -> bool:
    packed = path.suffix == ".gz"
    content = path.read_bytes()
    lines = (gzip.decompress(content) if packed else content).split(b"\n")
    reference = re.compile(reference_pattern(identifiers).encode())
    kept = [b"" if number in numbers or reference.search(line) else line for number, line in enumerate(lines, 1)]
    if kept == lines:
        return False
    text = b"\n".join(kept)
    fresh = path.with_name(f".{path.name}.{_FRESH}")
    fresh.write_bytes(gzip.compress(text) if packed else text)
    stat = path.stat()
    os.utime(fresh, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    write_through(fresh)
    fresh.replace(path)
    return True


def _has_record(connection: duckdb.DuckDBPyConnection, path: Path, identifiers: list[str]) -> bool:
    pattern = literal(reference_pattern(identifiers))
    row = connection.execute(
        f"select count(*) from (select cast(to_json(every) as varchar) as row_text "
        f"from read_parquet({literal(str(path))}) as every) where regexp_matches(row_text, {pattern})"
    ).fetchone()
    return bool(row and row[0])
