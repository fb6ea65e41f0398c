"""Opens a torch model for a converter: an exported program, or the module that a function returns."""

from __future__ import annotations

import os
import zipfile
from pathlib import PurePosixPath
from typing import Any

from convfault.errors import InputError, TrustError, UsageError
from convfault.model import Model

PICKLED_CONSTANTS = ("custom_obj_", "opaque_obj_")
"""File names inside a ``.pt2`` that ``torch.export.load`` unpickles whatever the flags say (its archive constants)."""


def exported_program(model: Model) -> Any:
    """The ``torch.export.ExportedProgram``, with the batch dynamic where the model allows it.

    Raises ``TrustError`` when reading it would unpickle objects and the model is not trusted.
    """
    import torch

    if model.format == "torch_function":
        return export(module(model), example(model))
    if not model.trusted:
        _refuse_pickled_constants(model.path)
        os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"  # its loader falls back to full unpickling otherwise
    return torch.export.load(model.path)


def _refuse_pickled_constants(path: str) -> None:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if PurePosixPath(name).name.startswith(PICKLED_CONSTANTS):
                raise TrustError(
                    f"{path} holds pickled objects ({name}), which can execute code: add --trust to load it"
                )


def module(model: Model) -> Any:
    """The ``nn.Module`` that ``module:function`` returns, in evaluation mode, its weights loaded."""
    import importlib
    import sys

    import torch

    name, _, function = model.path.partition(":")
    sys.path.insert(0, os.getcwd())  # as ``python -m`` finds the user's own module
    built = getattr(importlib.import_module(name), function)()
    if not isinstance(built, torch.nn.Module):
        raise InputError(f"{model.path} returned {type(built).__name__}, not a torch.nn.Module")
    if model.weights:
        built.load_state_dict(torch.load(model.weights, weights_only=not model.trusted, map_location="cpu"))
    return built.eval()


def example(model: Model, batch: int = 2) -> tuple[Any, ...]:
    """Random inputs that fit the model's signature or, without one, its preprocessing: float32 NCHW pictures."""
    import torch

    generator = torch.Generator().manual_seed(0)
    if model.signature is not None:
        shapes = [(batch, *spec.shape[1:]) for spec in model.signature.inputs]
    elif model.preprocessing is not None:
        shapes = [(batch, model.preprocessing.depth, *model.preprocessing.size)]
    else:
        shapes = [(batch, None)]
    if any(side is None for shape in shapes for side in shape):
        raise UsageError(f"the input size of {model.path} is not known: say it with --preprocess size=224")
    return tuple(torch.randn(tuple(int(side or 1) for side in shape), generator=generator) for shape in shapes)


def export(built: Any, inputs: tuple[Any, ...]) -> Any:
    """``torch.export`` with a dynamic batch; where the model fixes the batch, with that of one picture."""
    import torch

    batch = torch.export.Dim("batch")
    try:
        return torch.export.export(built, inputs, dynamic_shapes=tuple({0: batch} for _ in inputs))
    except Exception as error:  # whatever the reason is, a fixed batch is the answer
        print(f"dynamic batch is not possible, exporting with a batch of one: {error}")
        return torch.export.export(built, tuple(tensor[:1] for tensor in inputs))


def has_dynamic_batch(program: Any) -> bool:
    """Whether the first side of the program's first input is free."""
    names = set(program.graph_signature.user_inputs)
    shapes = [node.meta["val"].shape for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    return bool(shapes) and not isinstance(shapes[0][0], int)
