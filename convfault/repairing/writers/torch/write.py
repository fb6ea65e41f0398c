"""Writes edits into an exported program, or the weights of a module that a function builds into a state dict.

What no edit touches keeps its values, node names, arguments and metadata. A program is opened as it is for running:
nothing that is stored in an untrusted file is executed. A function's module is the user's own program: a change of
what it computes is refused, with the line to change.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convfault.errors import TrustError, UsageError
from convfault.model import Model
from convfault.native import torch_archive, torch_function
from convfault.native.torchvision_operators import ensure
from convfault.relax.edits import Edit
from convfault.relax.graph import Graph
from convfault.repairing.writers.change import Change
from convfault.repairing.writers.torch.document import TorchDocument
from convfault.repairing.writers.torch.weights import WeightsDocument, check_structure
from convfault.repairing.writers.writing import edited, written


def write(model: Model, graph: Graph, edits: Sequence[Edit], out: Path) -> tuple[Change, ...]:
    """A ``.pt2``; see ``convfault.repairing.writers``."""
    return written(model, graph, edits, out, _open_program)


def write_function(model: Model, graph: Graph, edits: Sequence[Edit], out: Path) -> tuple[Change, ...]:
    """A state dict for ``--weights``; executes the user's code, so raises ``TrustError`` for an untrusted model."""
    if not model.trusted:
        raise TrustError(f"{model.path} executes code: pass --trust if you trust it")
    if model.weights is not None and out.exists() and out.resolve() == Path(model.weights).resolve():
        raise UsageError(f"{out} is the model that is to be repaired: name another file, it is never overwritten")
    document = _open_module(model, graph)
    check_structure(document, graph, edited(graph, edits))
    return written(model, graph, edits, out, lambda given: document)


def _open_program(model: Model) -> TorchDocument:
    ensure()
    return TorchDocument(torch_archive.load(model), model.trusted)


def _open_module(model: Model, graph: Graph) -> WeightsDocument:
    """The module exported for the pictures that its graph was made for."""
    import torch

    module = torch_function.load(model)
    examples = tuple(torch.zeros(_native_shape(graph, name)) for name in graph.inputs)
    program = torch.export.export(module, examples)
    return WeightsDocument(program, module.state_dict(), model.path)


def _native_shape(graph: Graph, name: str) -> tuple[int, ...]:
    """The shape of an input as the module takes it."""
    layer = graph[name]
    order: Any = layer.native.permutation
    return layer.shape if order is None else tuple(layer.shape[order.index(axis)] for axis in range(len(order)))
