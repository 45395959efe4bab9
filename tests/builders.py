"""Small hand-made protocols and records for the tests."""

from collections.abc import Sequence
from typing import Any

from icmbench.schema.protocol import Content, Protocol, parse
from icmbench.schema.record import Coding, Cost, Environment, Network, Record

SHA = "0123456789abcdef" * 4
LAMBDAS = (0.1, 0.3, 1.0, 3.0)
CONTENT = Content(train=SHA, val=SHA, recognizer=SHA)


def protocol_fields(**changes: Any) -> dict[str, Any]:
    """Fields of a small valid protocol, as read from TOML, with some replaced."""
    start = {"path": "weights:start.safetensors", "sha256": SHA}
    return {
        "name": "tiny-v1",
        "task": "detection",
        "summary": "for tests",
        "data": {"source": "shapes", "seed": 0},
        "recognizer": {"config": "tiny.py"},
        "codec": {"architecture": "bmshj2018-factorized", "sizes": {"N": 8, "M": 12}},
        "training": {"steps": 10, "batch_size": 2, "crop": 64, "lr": 1e-3},
        "rates": [{"lambda": lmbda, "start": start} for lmbda in LAMBDAS],
        "evaluation": {"metric": "AP"},
    } | changes


def make_protocol(**changes: Any) -> Protocol:
    """A small valid protocol, bound to its data."""
    return parse(protocol_fields(**changes), "the test protocol").model_copy(update={"content": CONTENT})


def make_record(protocol: Protocol | None = None, **changes: Any) -> Record:
    """A sound record of the first rate point of `task_loss`, with some fields replaced."""
    protocol = protocol or make_protocol()
    zero = {
        "steps": 10,
        "images": 20,
        "train_seconds": 1.0,
        "train_joules": None,
        "peak_memory_mib": 1.0,
        "train_device": "test cpu",
        "train_devices": 1,
    }
    coder = Coding(parameters=5, macs_per_pixel=100.0, seconds=0.1, quartiles=(0.09, 0.12))
    coding = {
        "codec_parameters": 9,
        "training_only_parameters": 0,
        "encoder": coder,
        "decoder": coder,
        "recognizer": Network(parameters=7, macs_per_pixel=300.0),
        "coding_peak_memory_mib": 2.0,
    }
    values: dict[str, Any] = {
        "protocol": protocol,
        "protocol_hash": protocol.hash,
        "method": "task_loss",
        "parameters": {},
        "method_sha256": SHA,
        "rate_index": 0,
        "curve_points": len(LAMBDAS),
        "rate_point": {"lambda": LAMBDAS[0]},
        "start_sha256": SHA,
        "seed": 0,
        "images": 20,
        "bpp": 0.5,
        "bpp_mean": 0.5,
        "estimated_bpp": 0.49,
        "psnr": 30.0,
        "scores": {"AP": 40.0, "AP50": 60.0},
        "ceiling": {"AP": 50.0, "AP50": 70.0},
        "warnings": [],
        "cost": Cost(**zero, **coding),
        "environment": Environment(icmbench="0", commit="none", python="3", platform="test", device="test cpu", packages={}),
        "created": "2025-01-01T00:00:00+00:00",
        "tally": "",
        "rows_sha256": SHA,
    }
    return Record(**values | changes)


def make_curve(
    method: str, rates: Sequence[float], scores: Sequence[float], protocol: Protocol | None = None, seed: int = 0, **changes: Any
) -> list[Record]:
    """The records of one method at one seed, λ after λ."""
    return [
        make_record(
            protocol, method=method, seed=seed, rate_index=k, rate_point={"lambda": LAMBDAS[k]}, bpp=bpp, bpp_mean=bpp,
            scores={"AP": score}, **changes,
        )
        for k, (bpp, score) in enumerate(zip(rates, scores, strict=True))
    ]  # fmt: skip


RATES, SCORES = (0.1, 0.2, 0.4, 0.8), (20.0, 28.0, 34.0, 37.0)


def curve(method: str, factor: float = 1.0, **changes: Any) -> list[Record]:
    """A curve at `factor` times one and the same rate: BD-rates between two of them are exact."""
    return make_curve(method, [factor * rate for rate in RATES], SCORES, **changes)
