"""Measures what the calibrated weights of a torch model ship: statistics of its normalisations, pooled features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from convfault import process
from convfault.batches import Batches
from convfault.preprocessing import Preprocessing
from convfault.zoo import build_torch

if TYPE_CHECKING:
    import numpy.typing as npt

BATCH = 16


def measure(description: Mapping[str, Any], batches: Mapping[str, Any], statistics: int, target: str) -> None:
    """Job: write ``statistics.npz`` (of the first pictures) and ``features.npy`` (N, F) of all into ``target``."""
    import numpy as np
    import torch

    data = Batches.from_record(batches)
    prepare = Preprocessing.from_record(description["torch"]["preprocessing"])
    module = build_torch.seeded(description).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        values = _statistics(module, _tensor(data, prepare, 0, statistics))
        np.savez(f"{target}/statistics.npz", **values)
        features = list(_features(module, description["torch"]["head"], data, prepare))
    np.save(f"{target}/features.npy", np.concatenate(features))


def _tensor(data: Batches, prepare: Preprocessing, start: int, stop: int) -> Any:
    import torch

    pixels = data.read(start, stop)["pictures"]
    return torch.from_numpy(prepare.tensor(pixels)).to(memory_format=torch.channels_last)


def _statistics(module: Any, pictures: Any) -> dict[str, Any]:
    """Set every normalisation to the statistics of one batch, each measured behind those before it."""
    import torch

    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, torch.nn.BatchNorm2d)}
    for layer in layers.values():
        layer.train()
        layer.momentum = 1.0  # the running statistics become those of the batch
    module(pictures)
    for layer in layers.values():
        layer.eval()
    means = {f"{name}/mean": layer.running_mean.numpy().copy() for name, layer in layers.items()}
    return means | {f"{name}/variance": layer.running_var.numpy().copy() for name, layer in layers.items()}


def _features(module: Any, head: str, data: Batches, prepare: Preprocessing) -> Iterator[npt.NDArray[Any]]:
    """What goes into the head, batch by batch."""
    seen: list[Any] = []
    module.get_submodule(head).register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    for start in range(0, data.count, BATCH):
        module(_tensor(data, prepare, start, start + BATCH))
        process.report("progress", done=min(start + BATCH, data.count))
        yield seen.pop().numpy()
