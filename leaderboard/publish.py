"""`icmbench publish`: the static site as a folder, made whole or not at all, and compared with what is there."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from icmbench.base.errors import UserError
from icmbench.leaderboard import derived
from icmbench.leaderboard.derived import Report, no_report
from icmbench.leaderboard.static import site
from icmbench.plugins.find import Plugins

MARKER = ".icmbench-publish"  # names the files that were made, one a line


def files(results: Path, report: Report = no_report) -> dict[str, bytes]:
    """All files of the site of a results folder: path → content. Raises UserError where there is no such folder."""
    if not results.is_dir():
        raise UserError(f"there is no results folder {results}.")
    made = site(derived.build(results, report), Plugins(), results)
    return made | {MARKER: "".join(f"{path}\n" for path in sorted(made)).encode()}


def publish(results: Path, out: Path, report: Report = no_report) -> int:
    """Write the site of a results folder to `out`, in place of one that is there; returns how many pages it has.

    Raises UserError where `out` holds anything else, or cannot be written.
    """
    _require_published(out)
    made = files(results, report)
    try:
        _replace(out.resolve(), made)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}.") from error
    return sum(path.endswith(".html") for path in made)


def differences(results: Path, out: Path, report: Report = no_report) -> list[str]:
    """How the site in `out` differs from the one that the results folder gives: a sentence a file, none where it is up to date.

    Raises UserError where there is no site in `out`.
    """
    if not (out / MARKER).is_file():
        raise UserError(f"there is no site in {out}; 'icmbench publish {out}' makes it.")
    made, there = files(results, report), _files_in(out)
    missing = dict.fromkeys(made.keys() - there, "missing")
    extra = dict.fromkeys(there - made.keys(), "extra")
    other = {path: "differs" for path in made.keys() & there if (out / path).read_bytes() != made[path]}
    return [f"{what}: {path}" for path, what in sorted((missing | extra | other).items())]


def _files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()}


def _require_published(out: Path) -> None:
    """Refuse a folder that holds anything that `publish` did not make."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is not a folder.")
    there = _files_in(out) if out.is_dir() else set()
    if not there:
        return
    if MARKER not in there:
        raise UserError(f"{out} is not empty and was not made by 'icmbench publish'; choose another folder.")
    if others := sorted(there - {MARKER, *(out / MARKER).read_text().splitlines()}):
        raise UserError(f"{out} holds {others[0]}, which 'icmbench publish' did not make; move it away or choose another folder.")


def _replace(out: Path, made: Mapping[str, bytes]) -> None:
    """Write the files beside `out`, then let them take its place."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as beside:
        new, old = Path(beside) / "new", Path(beside) / "old"
        for path, content in made.items():
            (new / path).parent.mkdir(parents=True, exist_ok=True)
            (new / path).write_bytes(content)
        if out.exists():
            out.rename(old)
        try:
            new.rename(out)
        except OSError:
            if old.exists():
                old.rename(out)
            raise
