"""Bundles that visitors hand in: looked at without running anything of them, and told in tables."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from icmbench.base.errors import UserError
from icmbench.show.sheet import Cell, Column, Sheet, number
from icmbench.submission.inspect import Claim, Contents, inspect


@dataclass(frozen=True)
class Report:
    """What is wrong with a bundle ("": nothing), else what it says of itself and claims, and its protocol's identity."""

    problem: str = ""
    sheets: tuple[Sheet, ...] = ()
    protocol: str = ""


def look(content: bytes) -> Report:
    """What is in a bundle, or why it would be refused. Raises OSError where it cannot be written to look at it."""
    with TemporaryDirectory(prefix="icmbench-bundle-") as folder:
        path = Path(folder) / "bundle.zip"
        path.write_bytes(content)
        try:
            found = inspect(path)
        except UserError as error:
            return Report(str(error))
    return Report("", (_about(found), _claims(found)), found.manifest.protocol)


def _about(found: Contents) -> Sheet:
    manifest = found.manifest
    facts = {
        "method": manifest.label,
        "protocol": manifest.protocol,
        "authors": ", ".join(manifest.about.authors),
        "title": manifest.about.title,
        "link": manifest.about.link,
        "licence": manifest.about.licence,
        "source": ", ".join(manifest.plugin.files),
        "seeds": ", ".join(str(seed) for seed in sorted({claim.record.seed for claim in found.claims})),
        "bitstreams": str(sum(len(claim.cell.shipped) for claim in found.claims)),
    }
    lines = [[Cell(name), Cell(text)] for name, text in facts.items() if text]
    return Sheet("bundle", "What the bundle says of itself", [Column("what", names=True), Column("is", prose=True)], lines)


def _claims(found: Contents) -> Sheet:
    metric = found.protocol.evaluation.metric
    columns = [
        Column("rate point", names=True),
        Column("seed", True),
        Column("images", True),
        Column("bpp", True, "bits of the whole container over the pixels of the image"),
        Column(metric, True, "in percent"),
        Column("PSNR", True, "dB"),
    ]
    order = sorted(found.claims, key=lambda claim: (claim.record.seed, claim.record.rate_index))
    return Sheet("bundle-claims", "What it claims", columns, [_claim(claim, metric) for claim in order])


def _claim(claim: Claim, metric: str) -> list[Cell]:
    record = claim.record
    return [
        Cell(record.point),
        Cell(str(record.seed), record.seed),
        Cell(str(record.images), record.images),
        number(record.bpp, ".4f"),
        number(record.scores[metric], ".2f"),
        number(record.psnr, ".2f"),
    ]
