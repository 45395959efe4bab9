"""The manifest of a bundle, which describes it and names the files in the archive. Needs no torch."""

import hashlib
import json
import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from icmbench.base.errors import UserError
from icmbench.schema.protocol import Protocol, Strict, describe_errors

MANIFEST = "manifest.json"
ENVIRONMENT = "environment.txt"
TRAINING_IMAGES = "training-images.txt"
FORMAT: Literal[1] = 1

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Identity = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._+-]*@[0-9a-f]{12}$")]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=60)]


def _line(text: str) -> str:
    if not text.strip() or not text.isprintable() or len(text) > 300:
        raise ValueError("must be one line of at most 300 printable characters")
    return text


def _web_address(text: str) -> str:
    if not re.fullmatch(r"https?://[^\s<>\"']{1,290}", text):
        raise ValueError("must be a web address")
    return text


def _plain_path(text: str) -> str:
    path = PurePosixPath(text)
    if path.is_absolute() or str(path) != text or ".." in path.parts or not text.isprintable() or "\\" in text or ":" in text:
        raise ValueError("must be a plain path inside the bundle")
    return text


Line = Annotated[str, AfterValidator(_line)]
Link = Annotated[str, AfterValidator(_web_address)]
InBundle = Annotated[str, AfterValidator(_plain_path)]


class File(Strict):
    """A file of the bundle: its size in bytes and its SHA-256."""

    bytes: Annotated[int, Field(ge=0)]
    sha256: Digest


class Plugin(Strict):
    """The method's source: its name, and the module to import below `plugin/`; `module` is empty for a single file."""

    name: Identifier
    module: Annotated[str, Field(pattern=r"^([A-Za-z_]\w*(\.[A-Za-z_]\w*)*)?$", max_length=200)] = ""
    files: Annotated[tuple[InBundle, ...], Field(min_length=1)]


class Cell(Strict):
    """One record with its files. `codec` and `log` are None for a codec that is not trained; `log` also if there is no log.

    `bitstreams`: SHA-256 of the bitstream of every image, in the order of the rows. `shipped`: the numbers of those in the
    bundle.
    """

    record: InBundle
    rows: InBundle
    codec: InBundle | None = None
    log: InBundle | None = None
    folder: InBundle
    bitstreams: tuple[Digest, ...]
    shipped: tuple[Annotated[int, Field(ge=0)], ...]

    def bitstream(self, number: int) -> str:
        """The path in the bundle of the bitstream of image `number`."""
        return f"{self.folder}/{number:06d}.icm"


class About(Strict):
    """Who submits what: authors, SPDX identifier of the licence, and optionally a title and the address of a paper or code."""

    authors: Annotated[tuple[Line, ...], Field(min_length=1, max_length=100)]
    licence: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+() -]{0,99}$")]
    title: Line | None = None
    link: Link | None = None


class Manifest(Strict):
    """The whole bundle: `files` lists every file but the manifest itself. `parameters`: those that differ from their default."""

    format: Literal[1] = FORMAT
    about: About
    protocol: Identity
    parameters: dict[str, Any]
    label: Line
    plugin: Plugin
    cells: Annotated[tuple[Cell, ...], Field(min_length=1)]
    files: dict[InBundle, File]

    def to_bytes(self) -> bytes:
        """Canonical JSON: the same manifest always gives the same bytes."""
        return (json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def parse(data: bytes) -> Manifest:
    """A manifest from its bytes. Raises UserError naming every wrong field."""
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        raise UserError(f"{MANIFEST} is not valid: {describe_errors(error)}.") from error
    except RecursionError as error:
        raise UserError(f"{MANIFEST} is not valid: it is nested too deeply.") from error


def sample(protocol: Protocol, images: int) -> tuple[int, ...]:
    """Numbers of the images whose bitstreams a bundle contains: all, or as many as the protocol requires.

    They follow from the protocol's hash, so submitters cannot choose them.
    """
    count = protocol.evaluation.submitted_bitstreams or images
    order = sorted(range(images), key=lambda number: hashlib.sha256(f"{protocol.hash}/{number}".encode()).digest())
    return tuple(sorted(order[:count]))
