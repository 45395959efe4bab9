"""Builds the objects that compute a cell from its identity: task, method, codec."""

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import safetensors
import torch

from icmbench.api.classes import make_task, method_class
from icmbench.api.method import ClassicalMethod, Method, TrainedMethod
from icmbench.api.task import Task
from icmbench.base.errors import UserError
from icmbench.codecs.neural import Codec, NeuralCodec, build_model, load_weights, saved_metadata
from icmbench.experiment.cell import Cell
from icmbench.experiment.devices import seed_torch, torch_device
from icmbench.experiment.folders import Device, Folders
from icmbench.plugins.find import Plugins, options
from icmbench.plugins.source import source_digest
from icmbench.plugins.weights import verified_path
from icmbench.schema.protocol import Protocol, Strict

if TYPE_CHECKING:  # takes seconds to import, and classical codecs do not need it
    from compressai.models import CompressionModel


def load_task(protocol: Protocol, plugins: Plugins, device: Device) -> Task:
    """The protocol's task, frozen, on a device. It is cached for the next cells."""
    return _load_task(protocol.model_dump_json(by_alias=True), plugins, torch_device(device))


@lru_cache(maxsize=2)
def _load_task(protocol_json: str, plugins: Plugins, device: torch.device) -> Task:
    protocol = Protocol.model_validate_json(protocol_json)
    task = make_task(plugins, protocol.task, protocol.data, protocol.recognizer)
    task.freeze()
    task.to(device)
    return task


def method_source(cell: Cell, plugins: Plugins) -> str:
    """SHA-256 of the whole source of the cell's method."""
    return source_digest(plugins.find("methods")[cell.method])


def training_identity(cell: Cell, plugins: Plugins) -> str:
    """The identity that a checkpoint or a trained codec must have to be used for this cell."""
    return json.dumps([cell.protocol.identity, cell.label, cell.rate_index, cell.seed, method_source(cell, plugins)])


def parameters_of(cell: Cell, plugins: Plugins) -> Strict:
    """The method's parameters, defaults filled in. Raises UserError for wrong ones."""
    kind = method_class(plugins, cell.method)
    parameters: Strict = options(kind.Parameters, dict(cell.parameters), f"the parameters of method {cell.method}")
    return parameters


def start_codec(cell: Cell) -> "CompressionModel":
    """The model with which the cell's training starts."""
    model = build_model(cell.protocol.codec)
    load_weights(model, verified_path(cell.rate.start))
    return model


def build_method(cell: Cell, plugins: Plugins, device: Device) -> Method:
    """The method at the start of its training. Its own parts are initialised from their own random stream.

    Raises UserError if the method does not fit the protocol's codec or recogniser.
    """
    kind, parameters = method_class(plugins, cell.method), parameters_of(cell, plugins)
    if issubclass(kind, ClassicalMethod):
        assert cell.own_rate is not None
        return kind(parameters, cell.own_rate[1])
    task = load_task(cell.protocol, plugins, device)  # before the stream starts, because building it draws random numbers
    model = start_codec(cell)
    seed_torch(cell.derive_seed("method", cell.method))
    return kind(parameters, model, task, cell.rate.lmbda, cell.protocol.training)


def saved_training(cell: Cell, plugins: Plugins, folders: Folders) -> dict[str, str]:
    """Metadata of the trained codec if it has this cell's training identity; else empty."""
    try:
        with safetensors.safe_open(folders.codec(cell), "pt") as file:
            metadata = file.metadata() or {}
    except (OSError, safetensors.SafetensorError):
        return {}
    return metadata if metadata.get("identity") == training_identity(cell.origin, plugins) else {}


def saved_codec(cell: Cell, plugins: Plugins, folders: Folders, device: Device) -> Codec:
    """The codec to evaluate: the classical codec, or the trained one from its file."""
    if issubclass(method_class(plugins, cell.method), ClassicalMethod):
        method = build_method(cell, plugins, device)
        assert isinstance(method, ClassicalMethod)
        return method
    return load_codec(folders.codec(cell), plugins, torch_device(device))


def load_codec(path: Path, plugins: Plugins, device: torch.device) -> NeuralCodec:
    """A codec that a run saved, with the modules that its method adds.

    Raises UserError if the file is not a whole codec or its method is not installed.
    """
    saved = saved_metadata(path)

    def extend(model: "CompressionModel") -> None:
        kind = method_class(plugins, saved["method"]) if "method" in saved else TrainedMethod
        if issubclass(kind, TrainedMethod):
            kind.extend(model, kind.Parameters.model_validate_json(saved.get("parameters", "{}")))

    return NeuralCodec.load(path, device, extend)


def find_decoder(name: str, plugins: Plugins, device: torch.device) -> Codec:
    """For decoding: the classical method of that name, else the codec saved in the file of that name.

    Raises UserError if there is neither.
    """
    if name not in plugins.find("methods"):
        return load_codec(Path(name), plugins, device)
    kind = method_class(plugins, name)
    if not issubclass(kind, ClassicalMethod):
        raise UserError(f"the method {name} is not a classical codec; name the codec.safetensors of its run instead.")
    return kind(kind.Parameters(), kind.rates[0])  # any rate: decoding reads it from the bytes
