"""Draws charts with matplotlib, as SVG for reports and PNG for pages, and small bars with Pillow for Dagster metadata.

Equal data gives equal bytes: no time of writing, and ids that depend on the chart's key only. Text from a source is
drawn as text, never as a formula. In the SVG, colours are CSS variables of the page, so that it follows the light and
the dark style, and RED and AMBER have patterns, so that bands are told apart without colour.
"""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BANDS = ("RED", "AMBER", "GREEN")
INK, MUTED, GRID, PAPER, ACCENT = "#1d2733", "#566370", "#d9dee3", "#fefefe", "#2f5f9e"
BAND_COLOURS = {"RED": "#c0392f", "AMBER": "#e09a2d", "GREEN": "#3f8f5f"}
CSS_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    PAPER: "--paper",
    ACCENT: "--accent",
    **{colour: f"--{band.lower()}" for band, colour in BAND_COLOURS.items()},
}
"""The CSS variable of each colour in an SVG; a page defines them for each of its styles."""

_PATTERNS = {"RED": "////", "AMBER": "\\\\", "GREEN": ""}
# At most this number of dates below a chart; for more days, they are months.
_DATES, _LONGEST_IN_DAYS = 6, 400
_WIDTH_INCHES, _HEIGHT_INCHES, _DOTS_PER_INCH = 7.2, 2.4, 96
_BARS_PIXELS, _BARS_LEVELS = (690, 120), 4
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "hatch.color": PAPER,
    "hatch.linewidth": 0.8,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}
_SVG = "http://www.w3.org/2000/svg"
_LINK = "{http://www.w3.org/1999/xlink}href"
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_FONT_FAMILY = re.compile(r"font-family: [^;\"]+;? ?")


@contextmanager
def _axes(height: float = _HEIGHT_INCHES) -> Generator[tuple[Figure, Axes]]:
    """A figure with one pair of axes, drawn with the project's settings only, whatever the user's are."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        # A browser has the characters that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure = Figure(figsize=(_WIDTH_INCHES, height), dpi=_DOTS_PER_INCH, layout="constrained")
        yield figure, figure.add_subplot()


def bands_over_time(days: Sequence[date], counts: Mapping[str, Sequence[int]], *, legend: bool = True) -> bytes:
    """An SVG of the accounts per band on each day, RED at the bottom."""
    with _axes() as (figure, axes):
        _stack(axes, days, counts)
        _date_ticks(axes, days)
        if legend and days:
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.16), ncols=3)
        return _svg_of(figure)


def _stack(axes: Axes, days: Sequence[Any], counts: Mapping[str, Sequence[int]]) -> None:
    below = [0] * len(days)
    for band in BANDS:
        above = [low + number for low, number in zip(below, counts.get(band, [0] * len(days)), strict=True)]
        axes.fill_between(
            days,  # pyright: ignore[reportArgumentType]  # dates are converted
            below,
            above,
            step="mid",
            facecolor=BAND_COLOURS[band],
            edgecolor=PAPER,
            linewidth=0,
            hatch=_PATTERNS[band],
            label=band,
        )
        below = above
    axes.set_ylim(bottom=0)
    axes.margins(x=0)


def _date_ticks(axes: Axes, days: Sequence[date]) -> None:
    """Name the last day, and earlier ones at equal distances: the ticks of matplotlib overlap at the end of a month."""
    if not days:
        return
    span = (max(days) - min(days)).days
    step = max(1, -(-span // (_DATES - 1)))
    ticks = [max(days) - timedelta(days=step * number) for number in range(span // step + 1)]
    form = "%Y-%m" if span > _LONGEST_IN_DAYS else "%Y-%m-%d"
    axes.set_xticks(
        ticks,  # pyright: ignore[reportArgumentType]  # dates are converted
        [f"{day:{form}}" for day in ticks],
    )


def stacked_bars_png(bars: Sequence[Mapping[str, int]]) -> bytes:
    """A small PNG with one stacked bar per entry (counts per band, RED at the bottom), without axes.

    A run draws two for each of its days, so they are drawn without a figure, in a hundredth of the time.
    """
    from PIL import Image, ImageDraw

    width, height = _BARS_PIXELS
    image = Image.new("RGB", (width, height), "#ffffff")
    draw = ImageDraw.Draw(image)
    for level in range(_BARS_LEVELS):
        line = height * level // _BARS_LEVELS
        draw.line(((0, line), (width, line)), fill=GRID)
    tallest = max([1, *(sum(bar.values()) for bar in bars)])
    slot = width / max(1, len(bars))
    for number, bar in enumerate(bars):
        left, right = round(number * slot), round((number + 0.9) * slot) - 1
        below = 0
        for band in BANDS:
            above = below + bar.get(band, 0)
            top, bottom = (round(height * (1 - count / tallest)) for count in (above, below))
            if above > below:
                draw.rectangle((left, top, max(left, right), max(top, bottom - 1)), fill=BAND_COLOURS[band])
            below = above
    written = io.BytesIO()
    image.save(written, format="png")
    return written.getvalue()


def band_rows(names: Sequence[str], counts: Mapping[str, Sequence[int]]) -> bytes:
    """An SVG with one horizontal bar per name, divided by band; the first name is at the top."""
    with _axes(0.7 + 0.26 * len(names)) as (figure, axes):
        places = range(len(names))
        left = [0] * len(names)
        for band in BANDS:
            widths = list(counts[band])
            axes.barh(
                places,
                widths,
                left=left,
                color=BAND_COLOURS[band],
                edgecolor=PAPER,
                linewidth=0.5,
                hatch=_PATTERNS[band],
                label=band,
            )
            left = [start + width for start, width in zip(left, widths, strict=True)]
        _name_rows(axes, names)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1 + 0.9 / max(3, len(names))), ncols=3)
        return _svg_of(figure)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [_shortened(name) for name in names])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    axes.margins(y=0.02)


def points_of_weights(names: Sequence[str], points: Sequence[float], weights: Sequence[float]) -> bytes:
    """An SVG with the points of each signal in front of its weight."""
    with _axes(0.5 + 0.26 * len(names)) as (figure, axes):
        axes.barh(range(len(names)), list(weights), color=GRID, label="weight")
        axes.barh(range(len(names)), list(points), height=0.5, color=ACCENT, label="points")
        _name_rows(axes, names)
        axes.legend(loc="lower right")
        return _svg_of(figure)


def bars(labels: Sequence[str], values: Sequence[float], unit: str) -> bytes:
    """An SVG with one bar per label; ``unit`` is the name of the vertical axis."""
    with _axes() as (figure, axes):
        axes.bar(range(len(labels)), list(values), color=ACCENT, width=0.7)
        axes.set_xticks(range(len(labels)), [_shortened(label) for label in labels])
        axes.yaxis.set_major_formatter(_thousands)
        axes.set_ylabel(_shortened(unit))
        return _svg_of(figure)


def _thousands(value: float, _position: float | None = None) -> str:
    return f"{value:,.0f}"


def lines(
    days: Sequence[date],
    series: Mapping[str, Sequence[float | None]],
    *,
    limits: tuple[float, float] | None = None,
    levels: Mapping[str, float] | None = None,
    percent: bool = False,
) -> bytes:
    """An SVG with a line per series over time; ``levels`` are horizontal lines with a name, such as thresholds."""
    with _axes() as (figure, axes):
        for number, (name, values) in enumerate(series.items()):
            axes.plot(
                days,  # pyright: ignore[reportArgumentType]  # dates are converted
                [float("nan") if value is None else value for value in values],
                color=(ACCENT, INK, MUTED)[number % 3],
                linestyle=("-", "--", ":")[number % 3],
                linewidth=1.8,
                label=name,
            )
        _levels(axes, levels or {})
        _date_ticks(axes, days)
        if limits:
            axes.set_ylim(*limits)
        if percent:
            axes.yaxis.set_major_formatter(_as_percent)
        axes.margins(x=0.01)
        if len(series) > 1:
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.16), ncols=len(series))
        return _svg_of(figure)


def _levels(axes: Axes, levels: Mapping[str, float]) -> None:
    for name, level in levels.items():
        axes.axhline(level, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.annotate(
            name,
            (0.01, level),
            xycoords=("axes fraction", "data"),
            ha="left",
            va="center",
            color=MUTED,
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1},
        )


def score_png(days: Sequence[date], scores: Sequence[float], levels: Mapping[str, float]) -> bytes:
    """A PNG of a score from 0 to 100 on each of these days, with ``levels`` as horizontal lines."""
    with _axes() as (figure, axes):
        figure.set_facecolor("#ffffff")
        # A marker shows a single day.
        axes.plot(days, scores, color=ACCENT, linewidth=1.8, marker="." if len(days) == 1 else "")  # pyright: ignore[reportArgumentType]
        _levels(axes, levels)
        _date_ticks(axes, days)
        axes.set_ylim(0, 100)
        return _png_of(figure)


def intervals(
    names: Sequence[str], values: Sequence[float], ends: Sequence[tuple[float, float]], *, limits: tuple[float, float]
) -> bytes:
    """An SVG with a point and an interval per name, on a scale with a line in its middle; the first name is on top."""
    with _axes(0.5 + 0.26 * len(names)) as (figure, axes):
        rows = range(len(names))
        axes.axvline(sum(limits) / 2, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.hlines(rows, [low for low, _ in ends], [high for _, high in ends], color=ACCENT, linewidth=2)
        axes.plot(list(values), list(rows), color=ACCENT, marker="o", markersize=6, linestyle="none")
        _name_rows(axes, names)
        axes.set_xlim(*limits)
        axes.set_ylim(len(names) - 0.5, -0.5)
        for row, value in zip(rows, values, strict=True):
            axes.annotate(f"{value:.3f}", (1.01, row), xycoords=("axes fraction", "data"), va="center", color=INK)
        return _svg_of(figure)


def _as_percent(value: float, _position: float | None = None) -> str:
    return f"{value:.0%}"


def _shortened(text: str, longest: int = 34) -> str:
    shown = "".join(character if character.isprintable() else "\ufffd" for character in " ".join(text.split()))
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def _png_of(figure: Figure) -> bytes:
    written = io.BytesIO()
    figure.savefig(written, format="png", metadata={"Software": None})
    return written.getvalue()


def _svg_of(figure: Figure) -> bytes:
    import matplotlib as mpl

    mpl.rcParams["svg.hashsalt"] = "chart"
    written = io.BytesIO()
    figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return written.getvalue()


def inline_svg(drawn: bytes, key: str, title: str, description: str) -> str:
    """The SVG as an element of an HTML page, with a title and a description for assistive technology.

    ``key`` is unique in the page: ids begin with it. The text of title and description is escaped.
    """
    ElementTree.register_namespace("", _SVG)
    root = ElementTree.fromstring(drawn)  # noqa: S314  our own drawing
    # The style of matplotlib applies to the whole page; the page has its own.
    for parent in list(root.iter()):
        for part in [*parent.findall(f"{{{_SVG}}}metadata"), *parent.findall(f"{{{_SVG}}}style")]:
            parent.remove(part)
    text = drawn.decode()
    referenced = {*_REFERENCE.findall(text), *re.findall(r'href="#([^"]+)"', text)}
    for element in root.iter():
        _make_own(element, key, referenced)
    for name, content, position in (("title", title, 0), ("desc", description, 1)):
        element = ElementTree.Element(f"{{{_SVG}}}{name}", {"id": f"{key}-{name}"})
        element.text = content
        root.insert(position, element)
    root.attrib.pop("width", None)
    root.attrib.pop("height", None)
    root.attrib |= {"role": "img", "aria-labelledby": f"{key}-title {key}-desc"}
    markup = ElementTree.tostring(root, encoding="unicode")
    for colour, variable in CSS_VARIABLES.items():
        markup = markup.replace(f": {colour}", f": var({variable})").replace(f'"{colour}"', f'"var({variable})"')
    return markup


def _make_own(element: ElementTree.Element, key: str, referenced: set[str]) -> None:
    """Keep only ids that the drawing refers to, and make them unique in the page."""
    # The white space between the elements of a drawing has no meaning.
    element.tail = None
    if element.text and not element.text.strip():
        element.text = None
    if "style" in element.attrib:
        element.set("style", _FONT_FAMILY.sub("", element.attrib["style"]))
    identifier = element.attrib.pop("id", None)
    if identifier in referenced:
        element.set("id", f"{key}-{identifier}")
    for name, value in list(element.attrib.items()):
        if value.startswith("#") and name in ("href", _LINK):
            del element.attrib[name]
            element.set("href", f"#{key}-{value[1:]}")
        elif "url(#" in value:
            element.set(name, _REFERENCE.sub(rf"url(#{key}-\1)", value))
