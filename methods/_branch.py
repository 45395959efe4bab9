"""How well the branch of `aux_loss` reads: its own scores, so that one can say whether it reads anything."""

from compressai.models import CompressionModel
from torch.nn import functional as F

from icmbench.api import LightHead, Tap, Task, UserError

MULTIPLE = 64  # of an image's sides, as the codec needs them


def assess(task: Task, codec: CompressionModel, tap: Tap, branch: LightHead) -> dict[str, float]:
    """The scores on `val` of a branch at `tap`, in percent; none if the task does not say how its light head predicts.

    The codec rounds its latents as in coding. Nothing is coded to bytes.
    """
    metric, dataset = task.metric(), task.dataset("val")
    device = next(branch.parameters()).device
    try:
        for index in range(len(dataset)):
            sample = dataset[index]
            height, width = sample.image.shape[1:]
            padding = (0, -width % MULTIPLE, 0, -height % MULTIPLE)
            images = F.pad(sample.image[None].to(device) / 255, padding, mode="replicate")
            with tap.capture() as features:
                decoded = codec(images)["x_hat"].clamp(0, 1)
                if not features:  # the tap is in the recogniser
                    task.features(decoded)
            metric.update(sample, branch.predict(features[0], (images.shape[2], images.shape[3])))
    except UserError:
        return {}
    return metric.compute()
