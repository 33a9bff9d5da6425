"""Charts: the colours of the bars, read back from the PNG, what captions say, and what an SVG contains."""

import base64
import io
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from datetime import date, timedelta

import duckdb
import pytest
from PIL import Image

from csm_core.analysts import drawing
from csm_core.analysts.charts import churn_by_decile, rag_over_time, score_distributions

COLOURS = {tuple(bytes.fromhex(code[1:])): band for band, code in drawing.BAND_COLOURS.items()}
DAYS = [date(2026, 6, 1) + timedelta(days=number) for number in range(3)]


def areas(image: bytes) -> Counter[str]:
    """The number of pixels of each band."""
    with Image.open(io.BytesIO(image)) as picture:
        pixels = picture.convert("RGB").get_flattened_data()
    return Counter(COLOURS[pixel] for pixel in pixels if pixel in COLOURS)


def highest_rows(image: bytes) -> dict[str, int]:
    """The first row from the top in which each band appears."""
    with Image.open(io.BytesIO(image)) as picture:
        wide = picture.convert("RGB")
        rows: dict[str, int] = {}
        for row in range(wide.height):
            for column in range(wide.width):
                band = COLOURS.get(wide.getpixel((column, row)))
                if band:
                    rows.setdefault(band, row)
    return rows


def picture_of(markdown: str) -> bytes:
    assert len(markdown) < 20_000
    return base64.b64decode(markdown.rsplit("base64,", 1)[1].removesuffix(")"))


def test_a_bar_is_stacked_from_red_up_in_proportion_to_its_counts():
    image = drawing.stacked_bars_png([{"GREEN": 1, "RED": 2, "AMBER": 1}])
    counted = areas(image)
    assert counted["RED"] == pytest.approx(2 * counted["AMBER"], rel=0.1)
    assert counted["AMBER"] == pytest.approx(counted["GREEN"], rel=0.1)
    rows = highest_rows(image)
    assert rows["GREEN"] < rows["AMBER"] < rows["RED"]


def test_a_low_bar_is_drawn_in_proportion_to_the_highest():
    lone = areas(drawing.stacked_bars_png([{"RED": 4}, {}]))["RED"]
    both = areas(drawing.stacked_bars_png([{"RED": 4}, {"RED": 1}]))["RED"]
    assert both == pytest.approx(lone * 1.25, rel=0.1)


def test_no_bars_and_empty_bars_are_drawn():
    assert areas(drawing.stacked_bars_png([])) == {}
    assert areas(drawing.stacked_bars_png([{}, {}])) == {}


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
    counted = areas(picture_of(said))
    assert counted["RED"] == pytest.approx(2 * counted["GREEN"], rel=0.1)
    assert counted["AMBER"] == 0


def test_days_stand_in_order_up_to_the_day(scored):
    first, second = date(2026, 6, 1), date(2026, 6, 2)
    said = rag_over_time(scored, (second, second))[second]
    assert "each of 2 scored days from 2026-06-01 to 2026-06-02; the full height is 3 accounts" in said
    counted = areas(picture_of(said))
    assert counted["RED"] == pytest.approx(2 * counted["GREEN"], rel=0.1)
    assert counted["AMBER"] == pytest.approx(counted["GREEN"], rel=0.1)
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
    one = areas(picture_of(churn_by_decile([(2, 4), (0, 4), (0, 4), (0, 0)])))["RED"]
    assert areas(picture_of(said))["RED"] == pytest.approx(1.5 * one, rel=0.1)


CHARTS = {
    "bands_over_time": lambda: drawing.bands_over_time(
        DAYS, {"RED": [1, 2, 3], "AMBER": [3, 2, 1], "GREEN": [5, 5, 5]}
    ),
    "band_rows": lambda: drawing.band_rows(
        ["Ann <b> $x^2$ & \u202eSons", "Łódź 株式会社"], {"RED": [1, 2], "AMBER": [0, 1], "GREEN": [4, 0]}
    ),
    "points_of_weights": lambda: drawing.points_of_weights(["usage trend", "NPS"], [3, 5], [15, 5]),
    "bars": lambda: drawing.bars(["2026-06", "2026-07"], [1000.5, 0], "MRR, EUR"),
    "intervals": lambda: drawing.intervals(["score", "usage"], [0.7, 0.4], [(0.6, 0.8), (0.4, 0.4)], limits=(0, 1)),
    "lines": lambda: drawing.lines(
        DAYS, {"net": [0.5, None, 1.2], "gross": [0.4, 0.5, 0.6]}, levels={"target": 0.9}, percent=True
    ),
}


@pytest.mark.parametrize("name", CHARTS)
def test_an_svg_is_equal_for_equal_data_and_has_no_script_link_or_style_of_the_page(name):
    drawn = CHARTS[name]()
    assert drawn == CHARTS[name]()
    svg = drawing.inline_svg(drawn, "chart-1", "A <title>", "A & description")
    root = ElementTree.fromstring(svg)
    assert [root[0].text, root[1].text] == ["A <title>", "A & description"]
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == "chart-1-title chart-1-desc"
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert tags.isdisjoint({"script", "style", "foreignObject", "image", "a", "metadata"})
    assert "http" not in svg.replace('xmlns="http://www.w3.org/2000/svg"', "")
    identifiers = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(identifiers) == len(set(identifiers))
    assert all(one.startswith("chart-1-") for one in identifiers)
    assert {*re.findall(r"url\(#([^)]+)\)", svg), *re.findall(r'href="#([^"]+)"', svg)} <= set(identifiers)


def test_names_in_a_chart_are_text():
    svg = drawing.inline_svg(CHARTS["band_rows"](), "c", "t", "d")
    texts = [element.text for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("}text")]
    assert "Łódź 株式会社" in texts
    assert "Ann <b> $x^2$ & \ufffdSons" in texts


def test_red_and_amber_have_patterns():
    svg = drawing.inline_svg(CHARTS["bands_over_time"](), "c", "t", "d")
    assert svg.count("<pattern") == 2
    assert {"var(--red)", "var(--amber)", "var(--green)"} <= set(re.findall(r"var\(--\w+\)", svg))
