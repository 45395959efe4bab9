"""What an evaluation comes to: the measured fields of a record, and its costs."""

import json
from typing import Any

import torch

from icmbench.api.task import Task
from icmbench.codecs.neural import Codec, NeuralCodec
from icmbench.experiment import cost
from icmbench.experiment.evaluate import Evaluation, networks
from icmbench.experiment.train import Ledger, device_name
from icmbench.schema.record import Cost


def ledger_of(trained: dict[str, str]) -> Ledger:
    """The ledger in the metadata of a trained codec's file; an empty one for a classical codec, which has none."""
    return Ledger(**json.loads(trained["ledger"])) if trained else Ledger(device=device_name(torch.device("cpu")))


def measured(result: Evaluation, tolerance: float, trained: dict[str, str]) -> dict[str, Any]:
    """Rates, scores and PSNR, with a warning where real bits differ from estimated ones by more than `tolerance`.

    `trained`: the metadata of a trained codec's file; its ledger may have warnings too.
    """
    ratio = result.bpp / result.estimated_bpp  # nan for a codec without likelihoods, which is in no tolerance
    off = f"real over estimated bits is {ratio:.3f}, outside 1 ± {tolerance:g}"
    return {
        "images": len(result.rows),
        "bpp": result.bpp,
        "bpp_mean": result.bpp_mean,
        "estimated_bpp": result.estimated_bpp,
        "psnr": result.psnr,
        "scores": result.scores,
        "warnings": [*([off] if abs(ratio - 1) > tolerance else []), *ledger_of(trained).warnings],
        "tally": result.tally,
    }


def costs(result: Evaluation, codec: Codec, task: Task, trained: dict[str, str], devices: int, packed: int) -> Cost:
    """Times and memory of the evaluation that has just ended; operations and parameters counted on the first image.

    `trained`: the metadata of a trained codec's file; empty for a classical codec.
    """
    model = codec.model if isinstance(codec, NeuralCodec) else torch.nn.Module()
    peak = cost.peak_memory_mib(codec.device if isinstance(codec, NeuralCodec) else torch.device("cpu"))
    ledger = ledger_of(trained)
    encoder, decoder, recognizer = networks(codec, task)
    return Cost(
        steps=ledger.steps,
        images=ledger.images,
        train_seconds=ledger.seconds,
        train_joules=ledger.joules,
        peak_memory_mib=ledger.peak_memory_mib,
        train_device=ledger.device,
        train_devices=devices,
        packed=packed,
        codec_parameters=sum(p.numel() for p in model.parameters()),
        training_only_parameters=int(trained.get("training_only", 0)),
        encoder=cost.coding(encoder, result.column("encode_seconds")),
        decoder=cost.coding(decoder, result.column("decode_seconds")),
        recognizer=recognizer,
        coding_peak_memory_mib=peak,
    )
