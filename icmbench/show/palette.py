"""How a method is drawn. Its colour and marker depend only on its label, so they are the same in every figure."""

import hashlib
from dataclasses import dataclass
from typing import Literal

BLACK, BLUE, VERMILLION = "#000000", "#0072B2", "#D55E00"
# At least 0.068 apart in OKLab, for normal sight and for each kind of colour blindness.
COLOURS = (
    "#56B4E9", VERMILLION, "#009E73", "#CC79A7", "#FFA90E", "#88CCEE", "#A56EFF", "#BD1F01", "#882255", BLUE, "#6929C4",
    "#AA3377", "#002D9C", "#B9AC70",
)  # fmt: skip
MARKERS = "osD^vPX*"  # as matplotlib names them
SALT = 10717  # with it, no three built-in methods share a colour, and no two a colour and a marker


@dataclass(frozen=True)
class Style:
    """A colour (#RRGGBB), a marker of `MARKERS`, and whether the line is dashed."""

    colour: str
    marker: str
    dashed: bool = False

    @property
    def line(self) -> Literal["-", "--"]:
        """The line as matplotlib names it."""
        return "--" if self.dashed else "-"

    @property
    def order(self) -> float:
        """Dashes are drawn over solid lines, which show between them."""
        return 2.5 if self.dashed else 2


def style_of(label: str, anchor: str) -> Style:
    """The style of the method `label` in a figure against `anchor`, which is black and dashed."""
    number = int.from_bytes(hashlib.sha256(f"{SALT} {label}".encode()).digest()[:8])
    marker = MARKERS[number // len(COLOURS) % len(MARKERS)]
    return Style(BLACK, marker, dashed=True) if label == anchor else Style(COLOURS[number % len(COLOURS)], marker)
