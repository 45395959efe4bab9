"""Fits the densities of a finished codec again, which shows whether its training left bits on the table."""

import copy

import torch

from icmbench.api import Dataset
from icmbench.codecs.neural import NeuralCodec, densities, estimate_bits


def saved_by_refitting(codec: NeuralCodec, train: Dataset, val: Dataset, images: int = 64, steps: int = 300) -> float:
    """The part of the estimated bits on `val` that is saved by fitting the densities to `images` of `train`, 0 to 1."""
    fitted = NeuralCodec(copy.deepcopy(codec.model), codec.spec)
    torch.manual_seed(0)
    with torch.no_grad():
        latents = [fitted.model.g_a(fitted.padded(train[index].image)) for index in range(images)]
    optimizer = torch.optim.Adam(densities(fitted.model), 1e-2)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, steps)
    for step in range(steps):
        batch = torch.cat([latents[(8 * step + offset) % images] for offset in range(8)])
        optimizer.zero_grad()
        bits = estimate_bits(_likelihoods(fitted, batch, training=True))
        torch.stack([latent_bits.mean() for latent_bits in bits.values()]).sum().backward()
        optimizer.step()
        schedule.step()
    fitted.refit()
    before, after = (sum(one.estimated_bits(val[index].image) for index in range(len(val))) for one in (codec, fitted))
    return 1 - after / before


def _likelihoods(codec: NeuralCodec, latents: torch.Tensor, training: bool) -> dict[str, torch.Tensor]:
    """Of the only latent that a factorised density codes: y, or the hyper-latent z."""
    model = codec.model
    hyper = model.h_a(latents) if hasattr(model, "h_a") else latents
    return {"density": model.entropy_bottleneck(hyper, training=training)[1]}
