"""Builds the zoo's models with torchvision. Runs in a process of its own."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convfault.errors import FormatError, UsageError
from convfault.zoo.backbone import Backbone
from convfault.zoo.download import downloading, is_address

FILENAME, FORMAT = "model.pt2", "pt2"


def build(description: Mapping[str, Any], weights: str, calibration: str, target: str) -> dict[str, Any]:
    """Job: write the model as an exported program with a free batch size; returns its number of classes.

    ``weights`` is ``calibrated``, ``imagenet``, an http address or the path of a state dict.
    """
    if weights == "calibrated":
        module = seeded(description)
        apply_calibration(module, description, Path(calibration))
    elif weights == "imagenet":
        module = published(description)
    else:
        module = from_state(description, read_state(weights), weights)
    export(module, int(description["torch"]["preprocessing"]["size"]), target)
    return {"classes": int(module.get_submodule(description["torch"]["head"]).out_features)}


def export(module: Any, size: int, target: str) -> None:
    """``torch.export`` with a dynamic batch dimension; input float32 (N, 3, size, size)."""
    import torch

    batch = torch.export.Dim("batch", min=1)
    with torch.no_grad():
        program = torch.export.export(module.eval(), (torch.zeros(2, 3, size, size),), dynamic_shapes=({0: batch},))
    torch.export.save(program, target)


def construct(description: Mapping[str, Any], classes: int, auxiliary: bool = False) -> Any:
    """The bare architecture, as torchvision makes it."""
    from convfault.native.torchvision_operators import ensure

    ensure()
    from torchvision import models

    settings = description["torch"]
    arguments = dict(settings.get("arguments", {}))
    if "auxiliary" in settings:
        arguments.update(aux_logits=auxiliary, init_weights=False)
    return models.get_model(settings["constructor"], weights=None, num_classes=classes, **arguments).eval()


def seeded(description: Mapping[str, Any]) -> Any:
    """The architecture with the seed's backbone; statistics and head are still the constructor's."""
    import torch

    module = construct(description, int(description["classes"]))
    backbone = Backbone.of(description, "torch")
    with torch.no_grad():
        for name, layer in module.named_modules():
            if isinstance(layer, torch.nn.Conv2d):
                shape = tuple(layer.weight.shape)
                fan_in = shape[1] * shape[2] * shape[3]
                layer.weight.copy_(torch.from_numpy(backbone.kernel(name, shape, (2, 3), 0, fan_in)))
            elif isinstance(layer, torch.nn.BatchNorm2d):
                layer.weight.copy_(torch.from_numpy(backbone.scale(name, layer.num_features)))
                layer.bias.copy_(torch.from_numpy(backbone.offset(name, layer.num_features)))
    return module


def apply_calibration(module: Any, description: Mapping[str, Any], path: Path) -> None:
    """Set the shipped statistics and head."""
    import numpy as np
    import torch

    with np.load(path, allow_pickle=False) as values, torch.no_grad():
        for name, layer in module.named_modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.running_mean.copy_(torch.from_numpy(values[f"{name}/mean"]))
                layer.running_var.copy_(torch.from_numpy(values[f"{name}/variance"]))
        head = module.get_submodule(description["torch"]["head"])
        head.weight.copy_(torch.from_numpy(np.ascontiguousarray(values["head/kernel"].T)))
        head.bias.copy_(torch.from_numpy(values["head/bias"]))


def published(description: Mapping[str, Any]) -> Any:
    """torchvision's own published weights, through torchvision's own loading."""
    from convfault.native.torchvision_operators import ensure

    ensure()
    from torchvision import models

    constructor = description["torch"]["constructor"]
    with downloading(f"torchvision's weights of {constructor}"):
        module = models.get_model(constructor, weights="DEFAULT")
    return _without_auxiliary(module, description)


def read_state(weights: str) -> dict[str, Any]:
    """The state dict at an address or path; nothing in it is executed."""
    import torch

    if is_address(weights):
        named_by_hash = bool(re.search(r"-[0-9a-f]{8,}\.\w+$", weights))
        with tempfile.TemporaryDirectory() as folder, downloading(weights):
            state = torch.hub.load_state_dict_from_url(
                weights,
                model_dir=folder,
                map_location="cpu",
                progress=False,
                check_hash=named_by_hash,
                weights_only=True,
            )
    else:
        try:
            state = torch.load(weights, map_location="cpu", weights_only=True)
        except Exception as error:
            reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
            raise FormatError(
                f"{weights} cannot be read as a state dict ({reason}): save one with torch.save"
            ) from error
    if not isinstance(state, Mapping):
        raise FormatError(f"{weights} holds a {type(state).__name__}, not a state dict: save module.state_dict()")
    inner = next((state[name] for name in ("state_dict", "model") if isinstance(state.get(name), Mapping)), state)
    return {name.removeprefix("module."): value for name, value in inner.items()}


def from_state(description: Mapping[str, Any], state: Mapping[str, Any], weights: str) -> Any:
    """The architecture with a state dict's weights; the number of classes is that of its head."""
    settings = description["torch"]
    head = state.get(f"{settings['head']}.weight")
    if head is None or getattr(head, "ndim", 0) != 2:
        raise UsageError(
            f"{weights} has no '{settings['head']}.weight': is it a state dict of {settings['constructor']}?"
        )
    auxiliary = any(name.startswith(settings.get("auxiliary", "?")) for name in state)
    module = construct(description, int(head.shape[0]), auxiliary)
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise UsageError(f"{weights} does not fit {settings['constructor']}: {reason}") from error
    return _without_auxiliary(module, description)


def _without_auxiliary(module: Any, description: Mapping[str, Any]) -> Any:
    """Drop the head that only training uses."""
    if "auxiliary" in description["torch"]:
        module.aux_logits = False
        setattr(module, description["torch"]["auxiliary"], None)
    return module.eval()
