"""The style of the command line's figures, and how they are written: PNG for screens, SVG and PDF for papers."""

import shlex
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from icmbench.base.files import replacing

DATES: dict[str, dict[str, None]] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}

matplotlib.rcParams.update(
    {
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.edgecolor": "white",
        "legend.handlelength": 2.8,  # enough to show dashes
        "savefig.dpi": 200,
        "pdf.fonttype": 42,  # TrueType: publishers refuse Type 3
        "svg.hashsalt": "icmbench",  # the same figure makes the same file
    }
)


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as NAME.png, NAME.svg and NAME.pdf and close it; returns the paths."""
    paths = []
    for form, dates in DATES.items():
        paths.append(folder / f"{name}.{form}")
        with replacing(paths[-1]) as temporary:
            figure.savefig(temporary, format=form, metadata=dates)
    plt.close(figure)
    return paths


def plain(text: str) -> str:
    """Text for a figure, with dollar signs escaped, because they would start a formula."""
    return text.replace("$", r"\$")


def interactive(results: Path | str) -> str:
    """The command that shows the figures of a results folder in the browser."""
    return f"icmbench leaderboard --results {shlex.quote(str(results))}"
