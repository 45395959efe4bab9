"""`icmbench show`: one protocol."""

import argparse

from icmbench.cli import options

HELP = "show a protocol: its fields, its hash, the files it needs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("protocol", metavar="NAME|FILE")
    options.add_plugin(parser)


def run(arguments: argparse.Namespace) -> int:
    from icmbench.plugins.requirements import requirements

    protocol = options.plugins(arguments).protocol(arguments.protocol)
    print(f"{protocol.name}: {protocol.summary}\nhash {protocol.hash}\n")
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
