"""`icmbench show`: one protocol."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    needed = requirements(protocol)
    for item in needed:
        size = f"{item.bytes:,} bytes" if item.bytes else "size not published"
        state = "found" if item.present else "to fetch" if item.fetched else "MISSING"
        print(f"  {state:8} {item.path}\n           {size}; {item.digest or 'no checksum published'}; {item.source}")
    for name, path in _data_paths(protocol, plugins):
        if path not in [item.path for item in needed]:
            print(f"  {'found' if path.exists() else 'MISSING':8} {path}  (data.{name})")
    print(f"\n{_checked(protocol, plugins)}")
    return 0


def _hash(protocol: "Protocol", plugins: "Plugins") -> str:
    """The hash of the protocol with the data on this machine."""
    try:
        bound = options.bound(protocol, plugins)
    except UserError:
        return "hash: unknown on this machine, because it covers the content of the data (see below)"
    return f"hash: {bound.hash} (val images and annotations: {bound.bound.val[:12]})"


def _data_paths(protocol: "Protocol", plugins: "Plugins") -> "Iterator[tuple[str, Path]]":
    """The files and folders that the task's data options name, with the names of the fields."""
    from icmbench.api.classes import task_class
    from icmbench.base.files import data_root
    from icmbench.plugins.find import options as checked

    def paths(prefix: str, fields: dict[str, Any]) -> "Iterator[tuple[str, Path]]":
        for name, value in fields.items():
            if isinstance(value, dict):
                yield from paths(f"{prefix}{name}.", value)
            elif isinstance(value, Path):
                yield prefix + name, data_root() / value

    data = checked(task_class(plugins, protocol.task).DataOptions, protocol.data, f"the data options of {protocol.name}")
    yield from paths("", data.model_dump())


def _checked(protocol: "Protocol", plugins: "Plugins") -> str:
    """What is wrong with data, annotations and config on this machine."""
    from icmbench.api.classes import make_task

    try:
        task = make_task(plugins, protocol.task, protocol.data, protocol.recognizer)
        task.recognizer_fingerprint()
        task.check_data()
    except UserError as error:
        return f"WRONG: {error}"
    return "the data and the recogniser's config were checked: nothing is wrong with them."
