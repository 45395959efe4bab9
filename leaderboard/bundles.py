"""Bundles that visitors hand in: looked at without running anything of them, and told in tables."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from icmbench.base.errors import UserError
from icmbench.leaderboard import listings
from icmbench.leaderboard.listings import BPP, PSNR, decimal, integer, text
from icmbench.show.sheet import Cell, Sheet
from icmbench.submission.inspect import Contents, inspect


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
    cells = {name: Cell(text) for name, text in facts.items() if text}
    return listings.fact_sheet("bundle", "What the bundle says of itself", cells)


def _claims(found: Contents) -> Sheet:
    metric = found.protocol.evaluation.metric
    fields = [
        text("rate point", "point", names=True),
        integer("seed", "seed"),
        integer("images", "images"),
        BPP,
        decimal(metric, "score", ".2f", "in percent"),
        PSNR,
    ]
    records = sorted((claim.record for claim in found.claims), key=lambda record: (record.seed, record.rate_index))
    names = ("point", "seed", "images", "bpp", "psnr")
    lines = ({name: getattr(one, name) for name in names} | {"score": one.scores[metric]} for one in records)
    return listings.sheet("bundle-claims", "What it claims", fields, lines)
