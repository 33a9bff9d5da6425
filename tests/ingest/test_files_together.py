"""Small text files that are read in one statement have the rows, lines and rejections of files that are read alone."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
from hypothesis import given, settings
from hypothesis import strategies as st

from csm_core.ingest.loader import load_tables
from csm_core.ingest.raw_tables import RawTable
from csm_core.warehouse.database import Warehouse
from tests.examples import examples
from tests.source_loads import SilentLog

TARGET = RawTable("files", "notes", "notes", ("id",), null_values=("NULL",))
AT = datetime(2026, 7, 1, tzinfo=UTC)

LINES = st.sampled_from(
    [
        "1,plain",
        '2,"in quotes"',
        '3,"two ""quotes"""',
        '4,"a line\nbreak"',
        '5,"never closed',
        "6,NULL",
        '7," NULL "',
        "8,NULL ",
        '9,""',
        "10",
        "11,too,many",
        "",
        "12,grüße 😀",
        "13,=1+1",
    ]
)
FILES = st.lists(
    st.tuples(
        st.sampled_from(["id,text", "text,id", "id,text,more"]),
        st.lists(LINES, max_size=5),
        st.sampled_from(["\n", "\r\n", ""]),
    ),
    min_size=1,
    max_size=6,
)


def loaded(folder: Path, groups: list[list[Path]]) -> list[list[tuple]]:
    """The raw rows and the rows that cannot be parsed after one load for each group of files."""
    with Warehouse(folder / "w.duckdb").connect() as connection:
        for group in groups:
            load_tables(connection, [(TARGET, group)], loaded_at=AT, log=SilentLog())
        return [
            connection.execute(f"select {columns} from {table} order by all").fetchall()
            for columns, table in (
                ("* exclude (_load_id)", "raw.files__notes"),
                ("* exclude (load_id)", "raw.unparseable_rows"),
                ("* exclude (load_id)", "raw.loads"),
            )
        ]


@settings(max_examples=examples(12), deadline=None)
@given(FILES)
def test_files_read_together_are_as_files_read_alone(contents):
    with TemporaryDirectory() as name:
        folder = Path(name)
        files: list[Path] = []
        for number, (header, lines, end) in enumerate(contents):
            file = folder / f"{number}.csv"
            between = end or "\n"
            file.write_text(between.join([header, *lines]) + end, encoding="utf-8", newline="")
            files.append(file)
        for one in ("together", "alone"):
            (folder / one).mkdir()
        together = loaded(folder / "together", [files])
        assert together == loaded(folder / "alone", [files[: number + 1] for number in range(len(files))])


def test_a_thousand_files_have_their_own_lines(tmp_path):
    # The names have characters of patterns, and some files have no records.
    files = [tmp_path / f"[{number:04}]*.csv" for number in range(1000)]
    for number, file in enumerate(files):
        file.write_text("id,text\n" + "".join(f"{number}-{line},x\n" for line in range(number % 4)), encoding="utf-8")
    rows = loaded(tmp_path, [files])[0]
    with duckdb.connect(str(tmp_path / "w.duckdb"), read_only=True) as connection:
        found = connection.execute(
            "select id, _source_file, _source_line from raw.files__notes order by all"
        ).fetchall()
    assert len(rows) == 1500
    assert found == sorted(
        (f"{number}-{line}", str(files[number]), line + 2) for number in range(1000) for line in range(number % 4)
    )
