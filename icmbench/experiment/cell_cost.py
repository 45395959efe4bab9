"""The cost of a cell, for its record: its training, by the ledger; coding and recognition, timed and counted."""

import torch

from icmbench.api.task import Task
from icmbench.codecs.neural import Codec, NeuralCodec
from icmbench.experiment import cost
from icmbench.experiment.checkpoint import Ledger
from icmbench.experiment.evaluate import Evaluation, networks
from icmbench.experiment.folders import Device, Share
from icmbench.schema.record import Cost


def measure_cost(
    result: Evaluation, codec: Codec, task: Task, ledger: Ledger, training_only: int, device: Device, share: Share
) -> Cost:
    """Times and memory of the evaluation that has just ended; operations and parameters counted on the first image."""
    model = codec.model if isinstance(codec, NeuralCodec) else torch.nn.Module()
    peak = cost.peak_memory_mib(codec.device if isinstance(codec, NeuralCodec) else torch.device("cpu"))
    encoder, decoder, recognizer = networks(codec, task)
    return Cost(
        steps=ledger.steps,
        images=ledger.images,
        optimizer_steps=ledger.optimizer_steps,
        prior_steps=ledger.prior_steps,
        codec_crops=ledger.codec_crops,
        recognizer_crops=ledger.recognizer_crops,
        train_seconds=ledger.seconds,
        train_joules=ledger.joules,
        peak_memory_mib=ledger.peak_memory_mib,
        train_device=ledger.device,
        train_devices=device.count,
        packed=share.packed,
        codec_parameters=sum(p.numel() for p in model.parameters()),
        training_only_parameters=training_only,
        encoder=cost.coding(encoder, result.column("encode_seconds")),
        decoder=cost.coding(decoder, result.column("decode_seconds")),
        recognizer=recognizer,
        coding_peak_memory_mib=peak,
    )
