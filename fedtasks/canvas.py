"""Pictures of rectangles, lines and words: as SVG, which is text, and as PNG, which pillow paints."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal, TypeAlias

from hansa.fedtasks.errors import OptionError

INK, FAINT, LINE = "#1f2933", "#cbd2d9", "#0b6e99"
FINE, SCALE = 4, 2
"""A PNG is painted at 4 pixels a unit and brought down to 2, so that edges are smooth."""

Point: TypeAlias = tuple[float, float]
Anchor: TypeAlias = Literal["start", "middle", "end"]


@dataclass(frozen=True, kw_only=True)
class Area:
    """A filled polygon."""

    points: Sequence[Point]
    fill: str

    def svg(self) -> str:
        points = " ".join(f"{_short(x)},{_short(y)}" for x, y in self.points)
        return f'<polygon points="{points}" fill="{self.fill}"/>'

    def paint(self, draw: Any) -> None:
        draw.polygon([(x * FINE, y * FINE) for x, y in self.points], fill=self.fill)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A thin line."""

    start: Point
    end: Point
    stroke: str = FAINT

    def svg(self) -> str:
        (x1, y1), (x2, y2) = ((_short(x), _short(y)) for x, y in (self.start, self.end))
        return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{self.stroke}"/>'

    def paint(self, draw: Any) -> None:
        ends = [(x * FINE, y * FINE) for x, y in (self.start, self.end)]
        draw.line(ends, fill=self.stroke, width=FINE)


@dataclass(frozen=True, kw_only=True)
class Words:
    """A line of words that begins, has its middle, or ends at a point of its baseline."""

    at: Point
    text: str
    size: int = 11
    anchor: Anchor = "start"
    bold: bool = False

    def svg(self) -> str:
        weight = ' font-weight="bold"' if self.bold else ""
        x, y = (_short(value) for value in self.at)
        return (
            f'<text x="{x}" y="{y}" font-size="{self.size}" text-anchor="{self.anchor}"{weight}>'
            f"{escape(self.text)}</text>"
        )

    def paint(self, draw: Any) -> None:
        from PIL import ImageFont

        draw.text(
            (self.at[0] * FINE, self.at[1] * FINE),
            self.text,
            fill=INK,
            font=ImageFont.load_default(self.size * FINE),
            anchor=f"{self.anchor[0].replace('e', 'r').replace('s', 'l')}s",
            stroke_width=FINE // 4 if self.bold else 0,
        )


Shape: TypeAlias = Area | Rule | Words


def box(x: float, y: float, width: float, height: float, fill: str) -> Area:
    """Return a rectangle by its upper left corner and its size."""
    return Area(points=((x, y), (x + width, y), (x + width, y + height), (x, y + height)), fill=fill)


def to_svg(shapes: Sequence[Shape], width: int, height: int, title: str) -> str:
    """Write a picture as SVG, with nothing but text."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" fill="{INK}"><title>{escape(title)}</title>'
        f'<rect width="100%" height="100%" fill="white"/>{"".join(shape.svg() for shape in shapes)}</svg>\n'
    )


def to_png(shapes: Sequence[Shape], width: int, height: int) -> bytes:
    """Paint a picture as PNG; raises OptionError where pillow is not installed."""
    try:
        from PIL import Image, ImageDraw
    except ImportError:
        raise OptionError("a .png is painted by pillow: pip install 'hansa[images]', or ask for an .svg.") from None
    image = Image.new("RGB", (width * FINE, height * FINE), "white")
    draw = ImageDraw.Draw(image)
    for shape in shapes:
        shape.paint(draw)
    written = io.BytesIO()
    image.resize((width * SCALE, height * SCALE), Image.Resampling.BOX).save(written, "PNG")
    return written.getvalue()


def _short(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
