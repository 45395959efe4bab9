"""Image + index-mask folders."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from icmbench.api import Dataset, Sample, UserError, fingerprint, sha256
from icmbench.tasks._data.images import Kept, read_image, read_mask

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


class MaskFolder(Dataset):
    """Images and index masks of the same stem; the target is `labels` of the stored mask uint8 [H, W].

    `names` restricts the images to these stems. `origin` identifies generated content instead of the files, whose bytes depend on
    the encoder. Raises UserError for a missing folder, an image without mask, or a mask of another size than its image.
    """

    def __init__(
        self, images: Path, masks: Path, labels: Callable[[Tensor], Tensor], names: list[str] | None = None, origin: str = ""
    ) -> None:
        self.folder, self.labels, self.origin = images, labels, origin
        for folder in (images, masks):
            if not folder.is_dir():
                raise UserError(f"the folder {folder} is missing.")
        paths = {path.stem: path for path in images.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES}
        missing = [name for name in names or [] if name not in paths]
        if missing or not paths:
            raise UserError(f"{images} has no image called {missing[0]}." if missing else f"{images} has no images.")
        self.images = [paths[name] for name in (names or sorted(paths))]
        self.masks = [masks / f"{path.stem}.png" for path in self.images]
        lost = next((path for path in self.masks if not path.exists()), None)
        if lost:
            raise UserError(f"{lost} is missing: every image needs a mask.")
        self.kept: Kept[Sample] = Kept()

    def __len__(self) -> int:
        return len(self.images)

    def fingerprint(self) -> str:
        """From the images' names and sizes, the masks' content, and the label of each stored value."""
        labels = self.labels(torch.arange(256, dtype=torch.uint8)).tolist()
        if self.origin:
            return fingerprint(self.folder, [], self.origin, labels)
        masks = [sha256(path) for path in self.masks]
        return fingerprint(self.folder, [path.name for path in self.images], masks, labels)

    def __getitem__(self, index: int) -> Sample:
        if index in self.kept.items:
            return self.kept.items[index]
        image, mask = read_image(self.images[index]), read_mask(self.masks[index])
        if mask.shape != image.shape[1:]:
            sizes = f"{tuple(mask.shape)} and {tuple(image.shape[1:])}"
            raise UserError(f"{self.masks[index]} and its image differ in size: {sizes}.")
        sample = Sample(image, self.labels(mask), self.images[index].name)
        return self.kept.keep(index, sample, image.numel() + 8 * mask.numel())
