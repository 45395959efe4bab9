"""`icmbench decode`: images from bitstreams and a codec's weights alone."""

import argparse
import sys
from pathlib import Path

from icmbench.cli import options

HELP = "decode kept bitstreams to PNG files, from the bytes and the codec's weights alone"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bitstreams", type=Path, metavar="BITSTREAMS", help="an .icm file, or a folder of them")
    parser.add_argument("codec", metavar="CODEC", help="the codec.safetensors of the run, or the name of a classical method")
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder for NAME.png")
    options.add_device(parser)
    options.add_plugin(parser)


def run(arguments: argparse.Namespace) -> int:
    import torch

    from icmbench.base.files import require_writable
    from icmbench.experiment.build import find_decoder
    from icmbench.extras import decode

    files = decode.find(arguments.bitstreams)
    codec = find_decoder(arguments.codec, options.plugins(arguments), torch.device(options.device(arguments.device)))
    require_writable(arguments.out)
    status = 0
    for decoded in decode.decode(files, codec, arguments.out):
        if decoded.problem:
            print(f"icmbench: {decoded.problem}", file=sys.stderr)
            status = 1
        else:
            print(f"{decoded.sha256}  {decoded.png.name}")
    return status
