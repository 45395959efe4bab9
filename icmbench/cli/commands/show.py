"""`icmbench show`: one protocol."""

import argparse
from typing import TYPE_CHECKING

from icmbench.base.errors import UserError
from icmbench.cli import options

if TYPE_CHECKING:
    from icmbench.plugins.find import Plugins
    from icmbench.schema.protocol import Protocol

HELP = "show a protocol: its fields, its hash, the files it needs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("protocol", metavar="NAME|FILE")
    options.add_plugin(parser)


def run(arguments: argparse.Namespace) -> int:
    from icmbench.plugins.requirements import requirements

    plugins = options.plugins(arguments)
    protocol = plugins.protocol(arguments.protocol)
    print(f"{protocol.name}: {protocol.summary}\n{_hash(protocol, plugins)}\n")
    print(protocol.model_dump_json(indent=2, by_alias=True, exclude={"name", "summary", "files", "assumed"}))
    if protocol.assumed:
        print("\nassumed, because the source does not say:")
        print("\n".join(f"  {field}: {why}" for field, why in protocol.assumed.items()))
    print("\nneeds:")
    for item in requirements(protocol):
        size = f"{item.bytes:,} bytes" if item.bytes else "size not published"
        state = "found" if item.present else "to fetch" if item.fetched else "MISSING"
        print(f"  {state:8} {item.path}\n           {size}; {item.digest or 'no checksum published'}; {item.source}")
    return 0


def _hash(protocol: "Protocol", plugins: "Plugins") -> str:
    """The hash of the protocol with the data on this machine."""
    try:
        bound = options.bound(protocol, plugins)
    except UserError:
        return "hash: unknown on this machine, because it covers the content of the data, and files are missing (see below)"
    return f"hash: {bound.hash} (val images and annotations: {bound.bound.val[:12]})"
