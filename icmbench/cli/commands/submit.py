"""`icmbench submit`: a bundle of a method's records with everything that others need to verify them."""

import argparse
from pathlib import Path

from icmbench.base.errors import UserError
from icmbench.cli import options

HELP = "pack a method's records with plugin, codecs and bitstreams, for others to verify"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("method")
    parser.add_argument("task")
    parser.add_argument("--protocol", metavar="NAME|FILE", help="default: the task's own")
    parser.add_argument("--out", type=Path, required=True, metavar="BUNDLE.zip")
    parser.add_argument("--author", action="append", required=True, metavar="NAME", help="repeat for several")
    parser.add_argument("--licence", required=True, metavar="SPDX", help="of the plugin and the weights, for example Apache-2.0")
    parser.add_argument("--title", help="what the method is, in a line")
    parser.add_argument("--link", metavar="ADDRESS", help="a paper, or where the code lives")
    options.add_set(parser)
    options.add_locations(parser)


def run(arguments: argparse.Namespace) -> int:
    from icmbench.schema.protocol import override, validated
    from icmbench.submission.manifest import About

    described = {"authors": arguments.author, "licence": arguments.licence, "title": arguments.title, "link": arguments.link}
    about = validated(About, described, "the description of the bundle is not valid")
    if arguments.out.suffix != ".zip":
        raise UserError(f"--out must name a .zip file, not {arguments.out}.")
    parameters, fields = options.settings(arguments.set)
    plugins = options.plugins(arguments)
    protocol = options.bound(override(plugins.resolve(arguments.task, arguments.protocol), fields), plugins)
    from icmbench.submission.submit import pack

    folders, device = options.folders(arguments), options.devices(arguments)
    manifest = pack(plugins, folders, device, protocol, arguments.method, parameters, about, arguments.out)
    images = sum(len(cell.shipped) for cell in manifest.cells)
    size = arguments.out.stat().st_size / 2**20
    held = f"{len(manifest.cells)} records, {images} bitstreams, {size:.1f} MiB"
    print(f"{arguments.out}: {manifest.label} under {manifest.protocol}; {held}.")
    print(f"To check it as others will: icmbench verify {arguments.out}")
    return 0
