"""Text for Notion: nothing dropped but control characters, no character cut, every limit of the service kept."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csm_core.publishing.notion.rich_text import (
    BLOCKS_PER_REQUEST,
    OPTION_UNITS,
    REQUEST_BYTES,
    RUN_UNITS,
    RUNS_PER_ARRAY,
    clean,
    encoded_bytes,
    option_name,
    pieces,
    plain,
    requests_of,
    runs,
    text_blocks,
    units,
)

TEXT = st.text(alphabet=st.characters(categories=["L", "N", "P", "S", "Z", "Cc", "Cs"]), max_size=300)


@given(st.text(alphabet="ab😀é漢", max_size=300), st.integers(2, 9))
def test_pieces_join_to_the_text_and_keep_to_their_length(text: str, most: int) -> None:
    found = list(pieces(text, most))
    assert "".join(found) == text
    assert all(units(piece) <= most for piece in found)
    # No piece is shorter than it must be: only a two-unit character can leave one unit free.
    assert all(units(piece) >= most - 1 for piece in found[:-1])


@given(TEXT)
def test_clean_takes_out_control_characters_only_and_counts_them(text: str) -> None:
    cleaned = clean(text)
    assert len(cleaned.text) + cleaned.removed == len(text)
    assert clean(cleaned.text) == (type(cleaned))(cleaned.text, 0)
    cleaned.text.encode()  # no half of a pair is left
    assert [one for one in text if one.isprintable() or one in "\n\t"] == [
        one for one in cleaned.text if one.isprintable() or one in "\n\t"
    ]


@pytest.mark.parametrize(
    ("text", "kept", "removed"),
    [
        ("a\x00b\x1fc", "abc", 2),
        ("line\none\ttab", "line\none\ttab", 0),
        ("\x7f\x9b", "", 2),
        ("half \ud83d of", "half  of", 1),
        ("", "", 0),
    ],
)
def test_control_characters(text: str, kept: str, removed: int) -> None:
    assert (clean(text).text, clean(text).removed) == (kept, removed)


@pytest.mark.parametrize("length", [0, 1, 1999, 2000, 2001, 4000])
@pytest.mark.parametrize("character", ["x", "😀"])
def test_runs_are_cut_at_2000_units(character: str, length: int) -> None:
    found = runs(character * length)
    assert plain(found) == character * length
    assert all(units(run["text"]["content"]) <= RUN_UNITS for run in found)
    assert len(found) == -(-units(character * length) // RUN_UNITS)


def test_an_emoji_at_the_edge_goes_to_the_next_run() -> None:
    first, second = runs("x" * 1999 + "😀" + "y")
    assert (first["text"]["content"], second["text"]["content"]) == ("x" * 1999, "😀y")


def test_more_than_100_runs_become_further_blocks() -> None:
    text = "".join(chr(0x4E00 + number % 5000) for number in range(RUN_UNITS * RUNS_PER_ARRAY + 5))
    blocks = text_blocks("callout", text, color="red_background")
    assert len(blocks) > 1
    assert "".join(plain(block["callout"]["rich_text"]) for block in blocks) == text
    assert all(len(block["callout"]["rich_text"]) <= RUNS_PER_ARRAY for block in blocks)
    assert all(block["callout"]["color"] == "red_background" for block in blocks)


def test_an_empty_text_is_one_empty_block() -> None:
    assert text_blocks("paragraph", "") == [{"object": "block", "type": "paragraph", "paragraph": {"rich_text": []}}]


@given(st.lists(st.integers(0, 260_000), max_size=12), st.integers(0, 30_000))
def test_requests_carry_all_blocks_in_order_within_the_limits(sizes: list[int], taken: int) -> None:
    blocks = [block for size in sizes for block in text_blocks("paragraph", "é" * size)]
    parts = list(requests_of(blocks, taken))
    assert [block for part in parts for block in part] == blocks
    assert all(part for part in parts[1:])
    for number, part in enumerate(parts):
        assert len(part) <= BLOCKS_PER_REQUEST
        body = json.dumps({"children": part}, ensure_ascii=False, separators=(",", ":")).encode()
        assert len(body) <= REQUEST_BYTES + 20
        if number == 0 and part:
            assert sum(encoded_bytes(block) for block in part) + taken <= REQUEST_BYTES


def test_many_small_blocks_go_100_to_a_request() -> None:
    parts = list(requests_of(text_blocks("paragraph", "x") * 230))
    assert [len(part) for part in parts] == [100, 100, 30]


@given(TEXT)
def test_option_names_have_no_commas_and_fit(text: str) -> None:
    name = option_name(text)
    assert "," not in name
    assert units(name) <= OPTION_UNITS
    assert name == name.strip()


def test_an_option_name_is_cut_between_characters() -> None:
    assert option_name("a, b") == "a  b"
    assert option_name("x" * 99 + "😀") == "x" * 99
