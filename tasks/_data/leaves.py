"""The `leaves` images as a data set without targets, for pretraining codecs."""

from pathlib import Path

from icmbench.api import Dataset, Sample
from icmbench.tasks._data.generated import generated
from icmbench.tasks._data.images import Kept, read_image
from icmbench.tasks._procedural import origin
from icmbench.tasks._procedural.leaves import picture
from icmbench.tasks._procedural.noise import write_png

VERSION = 1
COUNT, SIZE = {"train": 4000, "val": 64}, 192
FIRST = {"train": 0, "val": 1_000_000}


class Leaves(Dataset):
    """Images of `SIZE` x `SIZE` pixels, written to the cache on first use; the target is None."""

    def __init__(self, split: str, seed: int = 0) -> None:
        def build(folder: Path) -> None:
            for index in range(COUNT[split]):
                image = picture(seed, FIRST[split] + index, SIZE)
                write_png(folder / f"{index:05d}.png", image)

        self.count, self.origin = COUNT[split], origin("leaves", VERSION, COUNT[split], SIZE, FIRST[split], seed, split)
        self.folder = generated(f"leaves-{self.origin[:16]}", build)
        self.kept: Kept[Sample] = Kept()

    def __len__(self) -> int:
        return self.count

    def fingerprint(self) -> str:
        return self.origin

    def __getitem__(self, index: int) -> Sample:
        if index in self.kept.items:
            return self.kept.items[index]
        name = f"{index:05d}.png"
        image = read_image(self.folder / name)
        return self.kept.keep(index, Sample(image, None, name), image.numel())
