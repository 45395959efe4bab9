"""Image + index-mask folders."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from icmbench.api import Dataset, Sample, UserError, fingerprint, sha256
from icmbench.tasks._data.checks import check_once, repeated, side_by_side, strays
from icmbench.tasks._data.images import SUFFIXES, Kept, read_image, read_mask, size_of

IGNORED = 255  # the label of pixels that do not count


class MaskFolder(Dataset):
    """Images and index masks of the same stem; the target is `labels` of the stored mask uint8 [H, W], `IGNORED` for void.

    `void`: stored values that are meant to be ignored. `names` restricts the images to these stems. `origin` identifies generated
    content instead of the files, whose bytes depend on the encoder. Raises UserError for a missing folder, an image without mask,
    and two images of one stem.
    """

    def __init__(
        self,
        images: Path,
        masks: Path,
        labels: Callable[[Tensor], Tensor],
        names: Sequence[str] | None = None,
        void: Sequence[int] = (IGNORED,),
        origin: str = "",
    ) -> None:
        self.folder, self.labels, self.names, self.void, self.origin = images, labels, names, void, origin
        for folder in (images, masks):
            if not folder.is_dir():
                raise UserError(f"the folder {folder} is missing.")
        self.images = _chosen(images, names)
        self.masks = [masks / f"{path.stem}.png" for path in self.images]
        lost = next((path for path in self.masks if not path.exists()), None)
        if lost:
            raise UserError(f"{lost} is missing: every image needs a mask.")
        self.files = [*self.images, *self.masks]
        self.kept: Kept[Sample] = Kept()

    def check(self) -> None:
        """Look at all that can be wrong in images (headers only) and masks (every pixel). Raises UserError."""
        if not self.origin:
            check_once(self.files, (self._stored(), self.void), self._check_files)

    def _check_files(self) -> None:
        seen = set().union(*side_by_side(self._labels_in, range(len(self))))
        if len(seen) < 2:
            raise UserError(f"the masks {self.masks[0].parent} tell no classes apart: {len(seen)} occur, besides ignored pixels.")

    def _labels_in(self, index: int) -> set[int]:
        """The labels of one mask, without `IGNORED`."""
        mask, stored = read_mask(self.masks[index]), self._stored()
        self._check_size(index, size_of(self.images[index]), mask)
        values = np.flatnonzero(np.bincount(mask.numpy().ravel(), minlength=256)).tolist()
        for value in values:
            if stored[value] == IGNORED and value not in self.void:
                raise UserError(f"{self.masks[index]} has the value {value}, which is no class and not ignored.")
        return {stored[value] for value in values} - {IGNORED}

    def _check_size(self, index: int, size: tuple[int, int], mask: Tensor) -> None:
        if mask.shape != size:
            sizes = f"{mask.shape[1]}x{mask.shape[0]} and {size[1]}x{size[0]}"
            raise UserError(f"{self.masks[index]} and its image {self.images[index].name} differ in size: {sizes}.")

    def check_unlisted(self, known: Iterable[Path]) -> None:
        """Raises UserError for a mask beside those of this split that is not among the `known` files of both splits."""
        if self.origin or self.names is not None:
            return
        if lost := strays([self.masks[0].parent], known, (".png",)):
            kinds = ", ".join(SUFFIXES)
            raise UserError(f"{lost[0]} has no image in {self.folder}; images end in {kinds}.")

    def _stored(self) -> list[int]:
        """The label of each value that a mask can store."""
        return list(self.labels(torch.arange(256, dtype=torch.uint8)).tolist())

    def __len__(self) -> int:
        return len(self.images)

    def fingerprint(self) -> str:
        """From the images' names and sizes, the masks' content, and the label of each stored value."""
        if self.origin:
            return fingerprint(self.folder, [], self.origin, self._stored())
        masks = [sha256(path) for path in self.masks]
        return fingerprint(self.folder, [path.name for path in self.images], masks, self._stored())

    def __getitem__(self, index: int) -> Sample:
        if index in self.kept.items:
            return self.kept.items[index]
        image, mask = read_image(self.images[index]), read_mask(self.masks[index])
        self._check_size(index, (image.shape[1], image.shape[2]), mask)
        sample = Sample(image, self.labels(mask), self.images[index].name)
        return self.kept.keep(index, sample, image.numel() + 8 * mask.numel())


def _chosen(folder: Path, names: Sequence[str] | None) -> list[Path]:
    """The images called `names`, or all in the order of their stems."""
    paths: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES:
            paths.setdefault(path.stem, []).append(path)
    names = sorted(paths) if names is None else names
    if not names:
        raise UserError(f"{folder} has no images, or none is chosen.")
    if (name := repeated(names)) is not None:
        raise UserError(f"the image {name} of {folder} is chosen twice.")
    for name in names:
        if len(found := paths.get(name, [])) != 1:
            what = f"two images called {name}: {found[0].name} and {found[1].name}" if found else f"no image called {name}"
            raise UserError(f"{folder} has {what}.")
    return [paths[name][0] for name in names]
