"""`icmbench accept`: add a bundle's records to a results folder, with the status from their verification."""

import argparse

from icmbench.base.errors import UserError
from icmbench.cli import options
from icmbench.cli.commands import verify

HELP = "verify a bundle and add its records, with their status, to a results folder"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verify.add_bundle(parser)
    options.add_results(parser)
    parser.add_argument(
        "--external", metavar="NAME",
        help="keep the measured points as an external curve of this name, beside the methods and never ranked with them",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    from icmbench.base.files import require_writable
    from icmbench.extras.curves import external
    from icmbench.submission import registry
    from icmbench.submission.archive import opened
    from icmbench.submission.inspect import contents, inspect

    require_writable(arguments.results.folder)
    verdict = verify.verify_bundle(arguments)
    if verdict.status == "rejected":
        return verify.STATUS[verdict.status]
    if arguments.external:
        if not verdict.cells:
            raise UserError("nothing of the bundle could be measured here, so there is no curve to keep.")
        points = [(cell.bpp, cell.score) for cell in verdict.cells]
        curve = registry.add_external(arguments.results.folder, arguments.external, inspect(arguments.bundle), points)
        print(f"{external.path_of(arguments.results.folder, curve.name)}: {len(points)} points, external")
        return 0
    with opened(arguments.bundle) as bundle:
        submitted = contents(bundle)
        submission = registry.Submission(
            status=verdict.status,
            reason=verdict.reason,
            protocol=verdict.protocol,
            label=verdict.label,
            about=submitted.manifest.about,
            bundle_sha256=verdict.bundle_sha256,
            seals=registry.seals(bundle, submitted),
            images=sum(cell.images for cell in verdict.cells),
            same=sum(cell.same for cell in verdict.cells),
            environment=verdict.environment,
            accepted=registry.now(),
        )
    files = registry.accept(arguments.results.folder, arguments.bundle, submission)
    print(f"{files[0].parent}: {len(files)} records, {verdict.status}")
    return 0
