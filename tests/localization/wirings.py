"""A small network of all ways to be wired, faults to plant in it, and cases of it without a model file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from convfault.comparison import Comparison
from convfault.localization.aligning.alignment import Alignment, Match
from convfault.localization.case import Case, Subject
from convfault.model import Model
from convfault.relax import evaluate
from convfault.relax.graph import Graph, Layer, Native, Parameter

SHAPE = (1, 6, 6, 4)
WINDOW = {"size": (3, 3), "strides": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1)}
RELU = {"minimum": 0.0, "maximum": np.inf}
PICTURES = np.random.default_rng(1).standard_normal((4, *SHAPE[1:])).astype(np.float32)


def layer(name: str, kind: str, inputs: Sequence[str] | str, shape: Sequence[int] = SHAPE, **values: Any) -> Layer:
    names = (inputs,) if isinstance(inputs, str) else tuple(inputs)
    return Layer(name, kind, names, tuple(shape), "float32", values, native=Native(name))


def convolution(name: str, source: str, filters: int = 4, depth: int = 4, seed: int = 0) -> Layer:
    random = np.random.default_rng([seed, *name.encode()])
    weights = random.standard_normal((3, 3, depth, filters)).astype(np.float32) / 3
    parameters = {
        "weights": Parameter(weights),
        "bias": Parameter(random.standard_normal(filters).astype(np.float32)),
    }
    window = {name: value for name, value in WINDOW.items() if name != "size"}
    made = layer(name, "convolution", source, (*SHAPE[:3], filters), groups=1, **window)
    return replace(made, parameters=parameters)


def affine(name: str, source: str) -> Layer:
    parameters = {
        "scale": Parameter(np.array([1.5, -0.5, 2, 0.25], np.float32)),
        "shift": Parameter(np.array([0.5, 1, -1, 0], np.float32)),
    }
    return replace(layer(name, "affine", source), parameters=parameters)


def dense(name: str, source: str, depth: int, classes: int) -> Layer:
    random = np.random.default_rng(depth)
    parameters = {
        "weights": Parameter(random.standard_normal((depth, classes)).astype(np.float32) / 3),
        "bias": Parameter(random.standard_normal(classes).astype(np.float32)),
    }
    return replace(layer(name, "dense", source, (1, classes)), parameters=parameters)


def network() -> Graph:
    """Convolutions, a residual sum, a concatenation, a difference, pooling; two outputs, one with a softmax."""
    layers = (
        layer("picture", "input", ()),
        convolution("conv1", "picture"),
        layer("relu1", "clip", "conv1", **RELU),
        layer("pool", "average_pool", "relu1", count_padding=False, **WINDOW),
        convolution("conv2", "pool"),
        affine("scale", "conv2"),
        layer("sum", "add", ("scale", "relu1")),
        layer("relu2", "clip", "sum", **RELU),
        convolution("conv3", "relu2"),
        convolution("conv4", "relu2"),
        layer("sigmoid", "sigmoid", "conv4"),
        layer("joined", "concat", ("conv3", "sigmoid"), (*SHAPE[:3], 8), axis=3),
        convolution("conv5", "joined", depth=8),
        layer("difference", "subtract", ("conv5", "relu2")),
        layer("tanh", "tanh", "difference"),
        layer("flat", "reshape", "tanh", (1, 144)),
        dense("head", "flat", 144, 5),
        layer("scores", "softmax", "head", (1, 5), axis=1),
        layer("mean", "mean", "difference", (1, 4), axes=(1, 2), keepdims=False),
    )
    return Graph(layers, ("picture",), ("scores", "mean"))


@dataclass
class Tensors:
    """What a ``StoredTrace`` answers, from memory."""

    tensors: Mapping[str, np.ndarray] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.tensors)

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        return self.tensors[name][start:stop]


def subject(graph: Graph, tensors: Mapping[str, np.ndarray] | None = None) -> Subject:
    """A graph as a subject of a case; ``tensors`` are its native ones."""
    inputs = {str(graph[name].native.tensor): PICTURES for name in graph.inputs}
    ends = tuple(str(graph[name].native.tensor) for name in graph.outputs)
    trace: Any = Tensors(tensors or {}, ends if set(ends) <= set(tensors or {}) else ())
    return Subject(Model("model.onnx", "onnx"), graph, inputs, trace)


def case(
    source: Graph,
    target: Graph,
    apart: Sequence[str] = (),
    matches: Sequence[Match] | None = None,
    natives: Mapping[str, Mapping[str, np.ndarray]] | None = None,
) -> Case:
    """Layers of one id are aligned, unless they are to be ``apart``; ``natives``: the tensors of each side."""
    if matches is None:
        matches = [Match(item.id, item.id) for item in source if item.id in target and item.id not in apart]
    left, right = {match.source for match in matches}, {match.target for match in matches}
    alignment = Alignment(
        tuple(matches),
        tuple(item.id for item in source if item.id not in left),
        tuple(item.id for item in target if item.id not in right),
    )
    sides = [subject(graph, (natives or {}).get(name)) for name, graph in (("source", source), ("target", target))]
    names = tuple(f"picture {number}" for number in range(len(PICTURES)))
    return Case(sides[0], sides[1], alignment, Comparison("differ"), names, 1e-4)


def answers(graph: Graph) -> list[np.ndarray]:
    values = evaluate.run(graph, dict.fromkeys(graph.inputs, PICTURES))
    return [values[name] for name in graph.outputs]


def pruned(graph: Graph) -> Graph:
    """Without what no output depends on, as the importer leaves a graph."""
    needed, pending = set(graph.inputs), list(graph.outputs)
    while pending:
        name = pending.pop()
        if name not in needed:
            needed.add(name)
            pending.extend(graph[name].inputs)
    return replace(graph, layers=tuple(item for item in graph if item.id in needed))
