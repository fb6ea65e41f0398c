"""A torch module that a function of the user's gives: ``module:function``, and ``--weights`` for its state."""

from __future__ import annotations

import importlib
import os
import pickle
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from convfault.errors import FormatError, InputError, TrustError, UnknownNameError
from convfault.model import Model, TensorSpec

if TYPE_CHECKING:
    import torch

GUESSED_SIZE = 224
"""Height and width of the pictures used to look at a module that does not say its input size."""

SHOWN = 3


def load(model: Model) -> Any:
    """Call the function and give its module in eval mode, the weights loaded; raises one clear sentence."""
    import torch

    name, _, attribute = model.path.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise InputError(f"cannot import {name} for {model.path}: no module named '{error.name}' here") from error
    function = getattr(found, attribute, None)
    if not callable(function):
        known = [key for key, value in vars(found).items() if callable(value) and not key.startswith("_")]
        raise UnknownNameError("function", attribute, known, f"in {name}")
    try:
        module = function()
    except Exception as error:
        raise InputError(f"{model.path} cannot be called without arguments: {type(error).__name__}: {error}") from error
    if not isinstance(module, torch.nn.Module):
        raise FormatError(f"{model.path} gives a {type(module).__name__}, not an nn.Module")
    if model.weights is not None:
        _load_weights(model, module)
    return module.eval()


def _load_weights(model: Model, module: Any) -> None:
    state = _state(model)
    if isinstance(state.get("state_dict"), dict):  # a checkpoint that holds more than the weights
        state = state["state_dict"]
    own = module.state_dict()
    lacking = [name for name in own if name not in state]
    surplus = [name for name in state if name not in own]
    other = [name for name in own if name in state and own[name].shape != state[name].shape]
    if lacking or surplus or other:
        parts = [
            f"lack {_some(lacking)}" if lacking else "",
            f"have {_some(surplus)} too many" if surplus else "",
            f"have another shape for {_some(other)}" if other else "",
        ]
        what = ", ".join(filter(None, parts))
        raise FormatError(f"the weights in {model.weights} do not fit {model.path}: they {what}")
    module.load_state_dict(state)


def _state(model: Model) -> dict[str, Any]:
    import torch

    try:
        state = torch.load(model.weights, map_location="cpu", weights_only=not model.trusted)
    except pickle.UnpicklingError as error:
        if "Unsupported global" in str(error) or "Unsupported class" in str(error):
            raise TrustError(
                f"{model.weights} holds pickled objects that are not tensors: "
                "give --trust if you know where it comes from"
            ) from error
        raise FormatError(f"{model.weights} cannot be read as torch weights; is it complete?") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise FormatError(f"{model.weights} cannot be read as torch weights; is it complete?") from error
    if not isinstance(state, dict):
        raise FormatError(f"{model.weights} holds a {type(state).__name__}, not a state dict: save model.state_dict()")
    return state


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def inferred_inputs(model: Model, module: Any) -> tuple[TensorSpec, ...]:
    """The input's shape, as far as the first layer shows it: (N, channels, any, any) or (N, features)."""
    import inspect

    import torch

    name = next(iter(inspect.signature(module.forward).parameters), "input")
    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv2d):
            return (TensorSpec(name, (None, layer.in_channels, None, None), "float32"),)
        if isinstance(layer, torch.nn.Linear):
            return (TensorSpec(name, (None, layer.in_features), "float32"),)
    raise FormatError(f"{model.path} gives a module without convolutions: export it with torch.export.save as .pt2")


def example(spec: TensorSpec) -> torch.Tensor:
    """Zeros of the input's shape with a batch of one; unknown sides are guessed."""
    import torch

    sides = spec.shape[1:]
    return torch.zeros(spec.shape[0] or 1, *(GUESSED_SIZE if side is None else side for side in sides))


def output_specs(results: Any, inputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """Names and shapes of what a module returned: ``output``, or its keys or places where there are several."""
    from torch.utils import _pytree

    specs = []
    for path, value in _pytree.tree_leaves_with_path(results):
        if hasattr(value, "shape"):
            name = ".".join(["output", *(str(getattr(key, "key", getattr(key, "idx", key))) for key in path)])
            specs.append(_spec(name, value, inputs))
    return tuple(specs)


def inner_specs(noted: Mapping[str, Any], inputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """Specs of the tensors that the leaves returned in the run over ``example``, batch first."""
    return tuple(_spec(name, value, inputs) for name, value in noted.items() if value.ndim > 0)


def _spec(name: str, value: Any, inputs: Sequence[TensorSpec]) -> TensorSpec:
    """A side that may follow from a guessed one is None: those of pictures, not those of (N, features)."""
    sides: tuple[int | None, ...] = tuple(int(side) for side in value.shape[1:])
    if any(None in spec.shape[1:] for spec in inputs) and value.ndim > 2:
        sides = (sides[0], *(None for _ in sides[1:]))
    return TensorSpec(name, (inputs[0].shape[0], *sides), str(value.dtype).removeprefix("torch."))


def leaves(module: Any) -> Iterator[tuple[str, Any]]:
    """Path and module of every module that holds no others."""
    for path, inner in module.named_modules():
        if path and next(inner.children(), None) is None:
            yield path, inner
