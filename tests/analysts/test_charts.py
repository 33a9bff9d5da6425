"""Charts: the pixels of the bars, read back from the PNG, and what their captions say."""

import base64
import struct
import zlib
from datetime import date

import duckdb
import pytest

from csm_core.analysts.charts import HEIGHT, WIDTH, churn_by_decile, rag_over_time, score_distributions, stacked_bars

RED, AMBER, GREEN, WHITE = (204, 51, 51), (240, 160, 48), (64, 145, 96), (255, 255, 255)


def pixels(image: bytes) -> list[list[tuple[int, int, int]]]:
    """The colours, row by row from the top."""
    assert image[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(image):
        length, kind = struct.unpack(">I4s", image[at : at + 8])
        data = image[at + 8 : at + 8 + length]
        assert struct.unpack(">I", image[at + 8 + length : at + 12 + length]) == (zlib.crc32(kind + data),)
        chunks[kind], at = data, at + 12 + length
    width, height, depth, form, *_ = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (width, height, depth, form) == (WIDTH, HEIGHT, 8, 3)
    colours = [tuple(chunks[b"PLTE"][number : number + 3]) for number in range(0, len(chunks[b"PLTE"]), 3)]
    raw = zlib.decompress(chunks[b"IDAT"])
    rows = [raw[row * (width + 1) : (row + 1) * (width + 1)] for row in range(height)]
    assert all(row[0] == 0 for row in rows)
    return [[colours[one] for one in row[1:]] for row in rows]


def picture_of(markdown: str) -> list[list[tuple[int, int, int]]]:
    assert len(markdown) < 10_000
    return pixels(base64.b64decode(markdown.rsplit("base64,", 1)[1].removesuffix(")")))


def column(picture, at: int) -> list[tuple[int, int, int]]:
    return [row[at] for row in reversed(picture)]


def test_a_bar_is_stacked_from_red_up_to_its_share_of_the_highest():
    picture = pixels(stacked_bars([{"GREEN": 1, "RED": 2, "AMBER": 1}, {"RED": 1}]))
    assert column(picture, 10) == [RED] * 60 + [AMBER] * 30 + [GREEN] * 30
    assert column(picture, WIDTH // 2 + 10)[:30] == [RED] * 30
    assert set(column(picture, WIDTH // 2 + 10)[30:]).isdisjoint({RED, AMBER, GREEN})
    # A gap between the bars.
    assert set(column(picture, WIDTH // 2 - 1)).isdisjoint({RED, AMBER, GREEN})


def test_more_bars_than_pixels_and_empty_bars_are_drawn():
    assert pixels(stacked_bars([{"RED": 1}] * 1000))[-1] == [RED] * WIDTH
    assert {one for row in pixels(stacked_bars([{}, {}])) for one in row}.isdisjoint({RED, AMBER, GREEN})


@pytest.fixture
def scored():
    with duckdb.connect() as connection:
        connection.execute(
            "create schema marts; create table marts.csm_health_scores (as_of_date date, score double, rag varchar)"
        )
        connection.execute(
            "insert into marts.csm_health_scores values ('2026-06-01', 100, 'GREEN'), "
            "('2026-06-01', 0, 'RED'), ('2026-06-01', 4.9, 'RED'), ('2026-06-02', 50, 'AMBER')"
        )
        yield connection


def test_scores_stand_in_their_bucket_hundred_in_the_last(scored):
    by_day = score_distributions(scored, (date(2026, 5, 31), date(2026, 6, 2)))
    assert list(by_day) == [date(2026, 6, 1), date(2026, 6, 2)]
    assert "Scores on 2026-06-02" in by_day[date(2026, 6, 2)]
    said = by_day[date(2026, 6, 1)]
    assert said.startswith("Scores on 2026-06-01 from 0 to 100, one bar per 5 points; the tallest bar is 2 accounts.")
    picture = picture_of(said)
    assert column(picture, 5) == [RED] * HEIGHT
    assert column(picture, WIDTH - 5)[:60] == [GREEN] * 60


def test_days_stand_in_order_up_to_the_day(scored):
    first, second = date(2026, 6, 1), date(2026, 6, 2)
    said = rag_over_time(scored, (second, second))[second]
    assert "each of 2 scored days from 2026-06-01 to 2026-06-02; the full height is 3 accounts" in said
    picture = picture_of(said)
    assert column(picture, 5) == [RED] * 80 + [GREEN] * 40
    assert column(picture, WIDTH - 5)[:40] == [AMBER] * 40
    by_day = rag_over_time(scored, (first, second))
    assert by_day.keys() == {first, second}
    assert "one bar for 2026-06-01, the only scored day; the full height" in by_day[first]
    assert by_day[second] == said
    assert rag_over_time(scored, (date(2026, 5, 1), date(2026, 5, 2))) == {}


def test_a_picture_of_the_past_holds_ninety_days_at_most(scored):
    scored.execute(
        "insert into marts.csm_health_scores select date '2026-06-02' + cast(i as integer), 50, 'AMBER' "
        "from range(1, 100) as t(i)"
    )
    last = date(2026, 9, 9)
    by_day = rag_over_time(scored, (date(2026, 9, 1), last))
    assert "each of 90 scored days from 2026-06-12 to 2026-09-09" in by_day[last]
    assert len(by_day) == 9


def test_a_churn_rate_of_half_the_highest_has_half_the_height():
    said = churn_by_decile([(2, 4), (1, 4), (0, 4), (0, 0)])
    assert said.startswith("Churn rate by score, one bar for each of 4 groups of observations of about equal size")
    assert "lowest scores on the left; the tallest bar is 50.0%." in said
    picture = picture_of(said)
    assert column(picture, 5) == [RED] * HEIGHT
    assert column(picture, WIDTH // 4 + 5)[: HEIGHT // 2] == [RED] * (HEIGHT // 2)
    assert RED not in column(picture, WIDTH // 4 + 5)[HEIGHT // 2 :]
    assert RED not in column(picture, WIDTH - 5)
