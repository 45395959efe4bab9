"""`icmbench prepare`: make the weights that protocols start with."""

import argparse
from pathlib import Path

from icmbench.cli import options

HELP = "train the codec or recogniser that a recipe describes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", metavar="NAME|FILE", help="a recipe that comes with icmbench, or a TOML file")
    parser.add_argument("--out", type=Path, default=Path("weights"), metavar="DIR", help="default weights")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR")
    options.add_device(parser)


def run(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from icmbench.extras import prepare
    from icmbench.running.progress import show_progress

    path = prepare.find_recipe(arguments.recipe)
    with show_progress(path.stem, Console()) as report:
        description = prepare.prepare(path, arguments.out, arguments.runs, options.device(arguments.device), report)
    print(f"{arguments.out / path.stem}.safetensors  sha256 {description['sha256']}")
    print("reached: " + ", ".join(f"{name} {value:.3f}" for name, value in description["reached"].items()))
    return 0
