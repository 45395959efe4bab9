"""A results folder: one JSON file per record, and beside it the rows of its images as Parquet."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from icmbench.base.files import sha256, write_text
from icmbench.schema.protocol import Model, Protocol, describe_errors
from icmbench.schema.record import Record, flaws, impossible, point_name, seal


def rows_path(record: Path) -> Path:
    """The path of the rows of the images, from the path of their record."""
    return record.with_suffix(".parquet")


def read_models(
    paths: Iterable[Path], model: type[Model], path_of: Callable[[Model], Path]
) -> tuple[list[Model], dict[Path, str]]:
    """The models in JSON files, in the order of the paths, and the files that cannot be used, with the reason.

    `path_of`: where the file of a model belongs.
    """
    models, broken = [], {}
    for path in sorted(paths):
        try:
            content = model.model_validate_json(path.read_text())
        except ValidationError as error:
            broken[path] = describe_errors(error)
        except (OSError, ValueError) as error:
            broken[path] = str(error)
        else:
            if path == path_of(content):
                models.append(content)
            else:
                broken[path] = f"it is not in its place, which is {path_of(content)}"
    return models, broken


@dataclass(frozen=True)
class Store:
    """A results folder on this machine. Other kinds of stores share theirs with other machines."""

    folder: Path

    def __str__(self) -> str:
        return str(self.folder)

    def shared(self) -> AbstractContextManager[None]:
        """A block around which files are exchanged with other machines: fetched before it, sent after it."""
        return nullcontext()

    def refresh(self) -> None:
        """Fetch what other machines have written since."""

    def path(self, protocol: Protocol, label: str, rate_point: dict[str, float], seed: int) -> Path:
        """The path of the record of a cell, whether it exists or not."""
        return self.folder / protocol.identity / label / f"{point_name(rate_point)},seed={seed}.json"

    def path_of(self, record: Record) -> Path:
        """The path of a record."""
        return self.path(record.protocol, record.label, record.rate_point, record.seed)

    def write(self, record: Record) -> Path:
        """Seal a record and write it. Its rows must exist.

        Raises UserError if the folder cannot be written, ValueError for impossible values.
        """
        if problems := impossible(record):
            raise ValueError("; ".join(problems))
        fields = json.loads(record.model_dump_json(by_alias=True))
        path = self.path_of(record)
        write_text(path, json.dumps(fields | {"content_sha256": seal(fields)}, indent=1, ensure_ascii=False) + "\n")
        return path

    def read(self, protocol: str = "*@*") -> tuple[list[Record], dict[Path, str]]:
        """All valid records (of the protocol with this identity), and the files that cannot be used, with the reason."""
        records, broken = [], {}
        for path in self.files(protocol):
            try:
                fields = json.loads(path.read_text())
                record = Record.model_validate(fields)
            except ValidationError as error:
                broken[path] = describe_errors(error)
            except (OSError, ValueError, RecursionError) as error:
                broken[path] = str(error)
            else:
                if problems := self._problems(record, fields, path):
                    broken[path] = "; ".join(problems)
                else:
                    records.append(record)
        return records, broken

    def _problems(self, record: Record, fields: dict[str, Any], path: Path) -> list[str]:
        problems = flaws(record, fields)
        if path != self.path_of(record):
            problems.append("the file is not where the record of this cell belongs")
        rows = rows_path(path)
        if rows.is_file() and sha256(rows) != record.rows_sha256:
            problems.append("the rows of its images were changed after they were written")
        return problems

    def files(self, protocol: str = "*@*") -> Iterator[Path]:
        """Every file that should be a record (of the protocol with this identity), valid or not, in order."""
        return (path for path in sorted(self.folder.glob(f"{protocol}/*/*.json")) if not path.name.startswith("."))
