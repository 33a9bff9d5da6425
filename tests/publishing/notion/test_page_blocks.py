"""Revising a page: it ends saying what is wanted, cut short anywhere it can be done again, and people's words stay."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from csm_core.errors import NotionError
from csm_core.notion_sandbox.faults import Fault
from csm_core.notion_sandbox.server import SandboxServer
from csm_core.publishing.notion.page_blocks import Revision, mark, marks_of, revision
from csm_core.publishing.notion.rich_text import table_block, text_blocks, toggle_blocks
from tests.examples import examples
from tests.publishing.notion.publication import adapter_of

Block = dict[str, Any]
KINDS = ("paragraph", "heading_2", "bulleted_list_item")
BOT, PERSON = "bot", "person"


def block(kind: str, text: str) -> Block:
    return text_blocks(kind, text)[0]


def stored(blocks: Sequence[Block], author: str = BOT, prefix: str = "b") -> list[Block]:
    return [
        {**one, "id": f"{prefix}{number}", "created_by": {"id": author}, "last_edited_by": {"id": author}}
        for number, one in enumerate(blocks)
    ]


def carried_out(present: Sequence[Block], done: Revision) -> list[Block]:
    """The page after a revision, by the rules of the API."""
    page = [dict(one) for one in present]
    for block_id, new in done.updates:
        position = next(n for n, one in enumerate(page) if one["id"] == block_id)
        assert page[position]["type"] == new["type"]
        page[position] = {**page[position], **new}
    for number, insert in enumerate(done.inserts):
        new = stored(insert.blocks, prefix=f"new{number}-")
        ids = [one["id"] for one in page]
        place = ids.index(insert.after) + 1 if insert.after else len(page)
        page[place:place] = new
    return [one for one in page if one["id"] not in done.deletions]


BLOCKS = st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from("abcde")), max_size=9).map(
    lambda drawn: [block(kind, text) for kind, text in drawn]
)


@example(
    [block("paragraph", "a"), block("paragraph", "b")],
    [block("paragraph", "a"), block("paragraph", "a"), block("paragraph", "b")],
)
@given(BLOCKS, BLOCKS)
def test_a_page_of_ours_ends_saying_exactly_what_is_wanted(old: list[Block], new: list[Block]) -> None:
    present = stored(old)
    for ours in ([mark(one) for one in old], None):
        page = carried_out(present, revision(present, new, ours, BOT))
        assert sorted(map(mark, page)) == sorted(map(mark, new))
        # In order, but for what cannot be put before a page's first block.
        if old and new and mark(old[0]) == mark(new[0]):
            assert [mark(one) for one in page] == [mark(one) for one in new]


@given(BLOCKS)
def test_what_is_there_already_costs_nothing(blocks: list[Block]) -> None:
    assert revision(stored(blocks), blocks, [mark(one) for one in blocks]) == Revision()


@given(BLOCKS, BLOCKS, st.lists(st.tuples(st.integers(0, 9), st.sampled_from(KINDS)), max_size=4), st.booleans())
def test_what_people_wrote_stays_and_in_its_order(
    old: list[Block], new: list[Block], notes: list[tuple[int, str]], known: bool
) -> None:
    present = stored(old)
    for number, (position, kind) in enumerate(notes):
        present[position:position] = stored([block(kind, f"note {number}")], PERSON, f"p{number}-")
    written = [one for one in present if one["created_by"]["id"] == PERSON]
    ours = [mark(one) for one in old] if known else None
    page = carried_out(present, revision(present, new, ours, BOT))
    assert [one for one in page if one["created_by"]["id"] == PERSON] == written
    assert sorted(mark(one) for one in page if one["created_by"]["id"] == BOT) == sorted(map(mark, new))


@given(BLOCKS, BLOCKS, BLOCKS, st.data())
def test_cut_short_anywhere_and_done_again_it_ends_the_same(
    old: list[Block], cut_new: list[Block], new: list[Block], data: Any
) -> None:
    """A page whose revision was cut short, perhaps one to something else, is revised by who wrote its blocks."""
    present = stored(old)
    whole = revision(present, cut_new, [mark(one) for one in old])
    done = data.draw(st.integers(0, len(whole.updates) + len(whole.inserts) + len(whole.deletions)))
    left = max(0, done - len(whole.updates))
    part = Revision(whole.updates[:done], whole.inserts[:left], whole.deletions[: max(0, left - len(whole.inserts))])
    cut = [{**one, "id": f"c{number}"} for number, one in enumerate(carried_out(present, part))]
    page = carried_out(cut, revision(cut, new, None, BOT))
    assert sorted(map(mark, page)) == sorted(map(mark, new))


def test_a_block_that_a_person_edited_is_theirs() -> None:
    old = [block("heading_2", "Evidence"), block("paragraph", "80 %"), block("heading_2", "Talk")]
    present = stored(old)
    present[1] = {**present[1], **block("paragraph", "80 %, they said 90"), "last_edited_by": {"id": PERSON}}
    new = [old[0], block("paragraph", "85 %"), old[2]]
    for ours in ([mark(one) for one in old], None):
        page = carried_out(present, revision(present, new, ours, BOT))
        assert [mark(one) for one in page] == [
            "heading_2:Evidence",
            "paragraph:85 %",
            "paragraph:80 %, they said 90",
            "heading_2:Talk",
        ]


def test_what_a_person_deleted_or_edited_is_not_written_again_while_it_stays_the_same() -> None:
    old = [block("heading_2", "Evidence"), block("paragraph", "80 %"), block("paragraph", "Talk.")]
    present = [one for one in stored(old) if "Talk." not in mark(one)]
    new = [old[0], block("paragraph", "85 %"), old[2]]
    page = carried_out(present, revision(present, new, [mark(one) for one in old]))
    assert [mark(one) for one in page] == ["heading_2:Evidence", "paragraph:85 %"]


# -- over HTTP


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[SandboxServer]:
    with SandboxServer(tmp_path_factory.mktemp("blocks") / "notion.sqlite") as running:
        yield running


def run(server: SandboxServer, work: Callable[..., Any]) -> Any:
    async def with_adapter() -> Any:
        async with adapter_of(server) as adapter:
            page: Any = await adapter._client.pages.create(  # pyright: ignore[reportPrivateUsage]
                parent={"page_id": server.root_page_id}, properties={"title": [{"text": {"content": "x"}}]}
            )
            return await work(adapter, page["id"])

    try:
        return asyncio.run(with_adapter())
    finally:
        server.faults.clear()


def numbered(count: int, word: str = "line") -> list[Block]:
    return [block("paragraph", f"{word} {number}") for number in range(count)]


WRITES_LOST = ("unavailable_written", "unavailable_committed", "gateway_timeout", "reset_after", "truncated")
NOT_WRITTEN = ("conflict", "internal_error", "bad_gateway", "unavailable", "reset_before", "rate_limited", "overloaded")


@pytest.mark.parametrize("kind", WRITES_LOST + NOT_WRITTEN)
@pytest.mark.parametrize("times", [1, 2])
def test_every_block_is_appended_once_whatever_happens(server: SandboxServer, kind: str, times: int) -> None:
    async def work(adapter: Any, page_id: str) -> list[str]:
        server.faults.add(Fault(kind, method="PATCH", path="/children$", times=times, retry_after=0))
        await adapter.blocks.append_rest(page_id, numbered(230), 0)
        return [mark(one) for one in await adapter.blocks.children(page_id)]

    assert run(server, work) == [mark(one) for one in numbered(230)]


@pytest.mark.parametrize("kind", WRITES_LOST + NOT_WRITTEN)
def test_every_block_is_revised_once_whatever_happens(server: SandboxServer, kind: str) -> None:
    old = [block("heading_2", "H"), *numbered(5), block("heading_2", "I"), *numbered(3, "end")]
    new = [block("heading_2", "H"), *numbered(150, "new"), block("heading_2", "I"), *numbered(1, "end")]

    async def work(adapter: Any, page_id: str) -> list[str]:
        await adapter.blocks.append_rest(page_id, old, 0)
        note = server.user_actions.write(page_id, "A note.")
        for pattern in ("/children$", "^/v1/blocks/[^/]+$"):
            server.faults.add(Fault(kind, path=pattern, nth=2, times=2, retry_after=0))
        await adapter.blocks.revise(page_id, new, [mark(one) for one in old])
        present = await adapter.blocks.children(page_id)
        assert note["id"] in [one["id"] for one in present]
        return [mark(one) for one in present]

    assert run(server, work) == [*[mark(one) for one in new], "paragraph:A note."]


def test_after_three_faults_in_a_row_the_record_fails_and_says_why(server: SandboxServer) -> None:
    async def work(adapter: Any, page_id: str) -> None:
        server.faults.add(Fault("unavailable", method="PATCH", path="/children$", times=None))
        with pytest.raises(NotionError, match=r"3 attempts.*503 service_unavailable"):
            await adapter.blocks.append_rest(page_id, numbered(2), 0)

    run(server, work)


@settings(max_examples=examples(15), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(old=BLOCKS, new=BLOCKS)
def test_the_service_ends_with_what_the_rules_say(server: SandboxServer, old: list[Block], new: list[Block]) -> None:
    async def work(adapter: Any, page_id: str) -> None:
        await adapter.blocks.append_rest(page_id, old, 0)
        present = await adapter.blocks.children(page_id)
        expected = carried_out(present, revision(present, new, [mark(one) for one in old]))
        await adapter.blocks.revise(page_id, new, [mark(one) for one in old])
        assert [mark(one) for one in await adapter.blocks.children(page_id)] == [mark(one) for one in expected]

    run(server, work)


def test_what_people_rewrote_and_struck_shows_who_did_it(server: SandboxServer) -> None:
    async def work(adapter: Any, page_id: str) -> None:
        await adapter.blocks.append_rest(page_id, numbered(3), 0)
        first, second, _ = await adapter.blocks.children(page_id)
        server.user_actions.rewrite(first["id"], "in my words")
        server.user_actions.strike(second["id"])
        present = await adapter.blocks.children(page_id)
        assert [mark(one) for one in present] == ["paragraph:in my words", "paragraph:line 2"]
        assert [one["last_edited_by"]["id"] == one["created_by"]["id"] for one in present] == [False, True]
        # Nothing is known of the page here, and still the person's words are not ours to change.
        await adapter.blocks.revise(page_id, numbered(2, "new"), None)
        texts = [mark(one) for one in await adapter.blocks.children(page_id)]
        assert "paragraph:in my words" in texts
        assert sorted(texts) == ["paragraph:in my words", "paragraph:new 0", "paragraph:new 1"]

    run(server, work)


def nested(rows: Sequence[str], lines: Sequence[str]) -> list[Block]:
    """A heading, a table with a row for each of ``rows``, and a toggle with ``lines``."""
    table = table_block([("Metric", "Now"), *((row, "1") for row in rows)])
    return [block("heading_2", "H"), table, *toggle_blocks("Notes", [block("paragraph", line) for line in lines])]


async def content(adapter: Any, page_id: str) -> list[str]:
    """The marks of the blocks of a page and of their children."""
    marks: list[str] = []
    for one in await adapter.blocks.children(page_id):
        below = await adapter.blocks.children(one["id"]) if one["has_children"] else []
        marks += [mark(one), *(f"  {mark(child)}" for child in below)]
    return marks


@pytest.mark.parametrize("kind", [None, *WRITES_LOST, *NOT_WRITTEN])
@pytest.mark.parametrize("known", [True, False])
def test_rows_and_notes_change_inside_their_table_and_toggle(
    server: SandboxServer, kind: str | None, known: bool
) -> None:
    old, new = nested(["a", "b", "c"], ["one", "two", "three"]), nested(["a", "x", "c", "d"], ["one", "three"])

    async def work(adapter: Any, page_id: str) -> list[str]:
        await adapter.blocks.append_rest(page_id, old, 0)
        ids = [one["id"] for one in await adapter.blocks.children(page_id)]
        server.user_actions.write(ids[2], "A note.")
        if kind:
            for pattern in ("/children$", "^/v1/blocks/[^/]+$"):
                server.faults.add(Fault(kind, path=pattern, nth=2, times=2, retry_after=0))
        await adapter.blocks.revise(page_id, new, marks_of(old) if known else None)
        assert [one["id"] for one in await adapter.blocks.children(page_id)] == ids
        return await content(adapter, page_id)

    assert run(server, work) == [
        "heading_2:H",
        "table:",
        *("  table_row:Metric\tNow", "  table_row:a\t1", "  table_row:x\t1", "  table_row:c\t1", "  table_row:d\t1"),
        "toggle:Notes",
        *("  paragraph:one", "  paragraph:three", "  paragraph:A note."),
    ]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("note", ["", "A note."])
def test_a_toggle_that_is_not_wanted_any_more_goes_unless_a_person_wrote_in_it(
    server: SandboxServer, note: str, known: bool
) -> None:
    old = nested(["a"], ["one", "two"])

    async def work(adapter: Any, page_id: str) -> list[str]:
        await adapter.blocks.append_rest(page_id, old, 0)
        if note:
            server.user_actions.write((await adapter.blocks.children(page_id))[2]["id"], note)
        await adapter.blocks.revise(page_id, old[:2], marks_of(old) if known else None)
        return (await content(adapter, page_id))[4:]

    assert run(server, work) == (["toggle:Notes", "  paragraph:A note."] if note else [])


def test_a_line_that_a_person_struck_from_a_toggle_is_not_written_again(server: SandboxServer) -> None:
    old = nested(["a"], ["one", "two"])

    async def work(adapter: Any, page_id: str) -> list[str]:
        await adapter.blocks.append_rest(page_id, old, 0)
        toggle = (await adapter.blocks.children(page_id))[2]
        server.user_actions.strike((await adapter.blocks.children(toggle["id"]))[0]["id"])
        await adapter.blocks.revise(page_id, nested(["a"], ["one", "two", "three"]), marks_of(old))
        return (await content(adapter, page_id))[5:]

    assert run(server, work) == ["  paragraph:two", "  paragraph:three"]
