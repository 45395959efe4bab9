"""What a results folder comes to: the BD-rate table and what stays out of it, kept until any of its files changes.

One file a results folder in the cache. Light to import: a table that is kept is shown without loading what makes one.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from glob import glob
from pathlib import Path
from typing import Any

from icmbench import __version__
from icmbench.base.errors import UserError
from icmbench.base.files import cache_root, sha256, write_text
from icmbench.compare.row import Point, Row
from icmbench.plugins.find import Plugins
from icmbench.stats.confidence import Estimate

READ = ("*@*/*/*", "external/*.json")  # what the table is made of
CODE = ("compare/*", "schema/*", "stats/*", "base/*", "plugins/*", "extras/curves/*", "tasks/*/tally")  # and by


@dataclass(frozen=True)
class Summary:
    """`rows`: the table. `broken`: files that are no sound record or curve, `apart`: external curves that are not compared.

    Both with the reasons; files by their path in the results folder.
    """

    rows: list[Row]
    broken: list[tuple[str, str]]
    apart: list[tuple[str, str]]


def summary(results: Path, plugins: Plugins) -> Summary:
    """The summary of a results folder, from the cache where no file is another than when it was made."""
    state = f"{__version__} {_code(plugins.files)} {signature(results, READ)}"
    path = cache_root() / "tables" / f"{hashlib.sha256(str(results.resolve()).encode()).hexdigest()[:32]}.json"
    try:
        kept = json.loads(path.read_text())
        if kept["state"] == state:
            return _parse(kept["summary"])
    except (OSError, ValueError, KeyError, TypeError):  # none, or not whole
        pass
    made = _make(results, plugins)
    with suppress(UserError):  # a table that cannot be kept is a table, too
        write_text(path, json.dumps({"state": state, "summary": asdict(made)}))
    return made


def signature(folder: Path, patterns: Iterable[str]) -> str:
    """Digest of the names, sizes and times of all files, by which it is known whether any has changed."""
    names = sorted(name for pattern in patterns for name in glob(pattern, root_dir=folder, recursive=True))
    stats = [(name, _stat(f"{folder}/{name}")) for name in names]
    return hashlib.sha256(json.dumps(stats).encode()).hexdigest()


def _stat(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _code(more: Iterable[Path]) -> str:
    """Digest of the code that the table comes from, with the files `more`: other code's table is not shown."""
    here = Path(__file__).parents[1]
    files = [path for name in CODE for path in sorted(here.glob(f"{name}.py"))]
    files += [path for path in more if path.is_file()]
    return hashlib.sha256("".join(map(sha256, files)).encode()).hexdigest()


def _make(results: Path, plugins: Plugins) -> Summary:
    from icmbench.compare.comparison import as_group, curves, rows
    from icmbench.compare.resamples import read as read_records
    from icmbench.compare.resamples import source
    from icmbench.extras.curves.external import not_comparable, read
    from icmbench.schema.record import Store

    store = Store(results)
    records, broken = read_records(store, plugins)
    external, no_curves = read(results)
    apart = not_comparable(external, [as_group(group) for group in curves(records)])
    return Summary(
        rows=rows(records, source(store, plugins), external) if records else [],
        broken=[(str(path.relative_to(results)), reason) for path, reason in (broken | no_curves).items()],
        apart=[(curve.name, reason) for curve, reason in apart],
    )


def _parse(fields: dict[str, Any]) -> Summary:
    broken, apart = ([(name, reason) for name, reason in fields[key]] for key in ("broken", "apart"))
    return Summary([_row(row) for row in fields["rows"]], broken, apart)


def _row(fields: dict[str, Any]) -> Row:
    estimates = {name: _estimate(fields[name]) for name in ("bd_rate", "bd_metric", "anchor_doubled")}
    points = tuple(Point(one["name"], Estimate(**one["bpp"]), Estimate(**one["score"])) for one in fields["points"])
    return Row(**fields | estimates | {"points": points, "warnings": tuple(fields["warnings"])})


def _estimate(fields: dict[str, Any] | None) -> Estimate | None:
    return None if fields is None else Estimate(**fields)
