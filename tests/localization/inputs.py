"""Cases put together by hand: a small network as source, an edited copy as target, the traces on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from convfault.comparison import Comparison
from convfault.localization.aligning.alignment import Alignment, Match
from convfault.localization.case import Case, Hop, Subject
from convfault.model import Model
from convfault.preprocessing import Preprocessing
from convfault.relax import evaluate
from convfault.relax.graph import Graph, Native, Parameter
from convfault.trace import StoredTrace, Trace, TraceWriter
from tests.relax.drafts import Sketch, values

SIZE, DEPTH, CLASSES = 12, 3, 10


def network(classes: int = CLASSES, softmax: bool = True) -> Graph:
    """conv 3x3 → relu → conv 3x3 → relu → mean → dense (→ softmax) on (N, 12, 12, 3)."""
    sketch = Sketch(1, SIZE, SIZE, DEPTH)
    relu = sketch.source
    for strides in ((2, 2), (1, 1)):
        conv = sketch.convolution(relu, filters=16, padding=((0, 1), (0, 1)), strides=strides)
        relu = sketch.layer("clip", conv, sketch.layers[conv].shape, minimum=0.0, maximum=float("inf"))
    pooled = sketch.layer("mean", relu, (1, 16), axes=(1, 2), keepdims=False)
    parameters = {"weights": Parameter(values(16, classes) / 8), "bias": Parameter(values(classes))}
    last = sketch.add("dense", (pooled,), (1, classes), {}, parameters, native=Native("logits")).id
    return sketch.graph_of(sketch.layer("softmax", last, (1, classes), axis=1) if softmax else last)


def pixels(count: int = 6) -> np.ndarray:
    return np.random.default_rng(11).integers(0, 256, (count, SIZE, SIZE, DEPTH), np.uint8)


def case(
    folder: Path,
    source: Graph,
    target: Graph,
    fed: Preprocessing | None = None,
    other: Preprocessing | None = None,
    hops: Sequence[Hop] = (),
) -> Case:
    """Both graphs on the same pictures, layers of one id aligned."""
    fed = fed or Preprocessing(size=(SIZE, SIZE), scale=1 / 127.5, mean=(1.0,) * 3)
    sides = [
        _subject(folder / name, graph, preprocessing, {graph.inputs[0]: preprocessing.tensor(pixels())})
        for name, graph, preprocessing in (("source", source, fed), ("target", target, other or fed))
    ]
    return joined(*sides, hops=hops)


def joined(source: Subject, target: Subject, hops: Sequence[Hop] = ()) -> Case:
    shared = [layer.id for layer in source.graph if layer.id in target.graph]
    alignment = Alignment(
        tuple(Match(name, name) for name in shared),
        tuple(layer.id for layer in source.graph if layer.id not in shared),
        tuple(layer.id for layer in target.graph if layer.id not in shared),
    )
    names = tuple(f"picture {row}" for row in range(len(next(iter(source.inputs.values())))))
    return Case(source, target, alignment, Comparison("differ"), names, 1e-5, tuple(hops))


def subject(folder: Path, graph: Graph, start: Mapping[str, Any]) -> Subject:
    """``start`` by input layer id."""
    return _subject(folder, graph, None, start)


def _subject(folder: Path, graph: Graph, known: Preprocessing | None, start: Mapping[str, Any]) -> Subject:
    found = evaluate.run(graph, start)
    tensors = {f"{name}:out": found[name] for name in graph.outputs}
    with TraceWriter(folder) as writer:
        writer.append(Trace(tensors, tuple(tensors), "onnx", "1", "NHWC"))
    native = {str(graph[name].native.tensor): array for name, array in start.items()}
    return Subject(Model("m.onnx", "onnx", preprocessing=known), graph, native, StoredTrace(folder))


def error(case: Case, graph: Graph) -> float:
    """Largest difference of the first output from the source's with this graph as the target."""
    found = evaluate.run(graph, case.target.start)[graph.outputs[0]]
    return float(np.abs(found - case.source.outputs[0]).max())
