"""Ways in which a picture can be turned, mirrored, or read in the wrong layout, and the layers that undo them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from convfault.errors import ConvfaultError
from convfault.localization.case import Case
from convfault.relax import evaluate
from convfault.relax.edits import Insert, Together
from convfault.relax.graph import Array, Graph, Layer

PICTURES = 2
"""A whole graph is evaluated on so many pictures."""

Step = tuple[str, tuple[int, ...]]


@dataclass(frozen=True)
class Turn:
    """``steps`` of transpose (order), reshape (shape without the batch) or flip (axes), one after the other.

    ``turns_answer``: a model that was turned throughout answers turned, too, up to where it pools.
    """

    cause: str
    words: str
    steps: tuple[Step, ...] = ()
    turns_answer: bool = False

    @property
    def upright(self) -> bool:
        """Whether nothing is done at all."""
        return not self.steps

    def __call__(self, pictures: Array) -> Array:
        """Of (N, H, W, C)."""
        for step, numbers in self.steps:
            pictures = _apply(step, numbers, pictures)
        return np.ascontiguousarray(pictures)

    def answer(self, wanted: Array) -> Array | None:
        """What the first layer should answer; None where it has no such axes."""
        if not self.turns_answer:
            return wanted
        return self(wanted) if wanted.ndim == 4 else None


def _apply(step: str, numbers: tuple[int, ...], pictures: Array) -> Array:
    if step == "transpose":
        return pictures.transpose(numbers)
    return pictures.reshape(-1, *numbers) if step == "reshape" else np.flip(pictures, numbers)


UPRIGHT = Turn("", "as they are")


def turns(pictures: Array) -> Iterator[Turn]:
    """What is tried on pictures (N, H, W, C), commonest first; nothing on other tensors."""
    if pictures.ndim != 4:
        return
    _, height, width, depth = pictures.shape
    exchange: Step = ("transpose", (0, 2, 1, 3))
    if height == width:
        yield Turn("transposed", "transposed (height and width exchanged)", (exchange,))
    planes, pixels = (depth, height, width), (height, width, depth)
    yield Turn(
        "layout",
        "laid out channels first where the model reads channels last",
        (("transpose", (0, 3, 1, 2)), ("reshape", pixels)),
    )
    yield Turn(
        "layout",
        "laid out channels last where the model reads channels first",
        (("reshape", planes), ("transpose", (0, 2, 3, 1))),
    )
    yield Turn("mirrored", "mirrored (left and right exchanged)", (("flip", (2,)),))
    yield Turn("mirrored", "upside down", (("flip", (1,)),))
    yield Turn("mirrored", "turned by half a circle", (("flip", (1, 2)),))
    if height == width:
        yield Turn("transposed", "transposed (height and width exchanged)", (exchange,), turns_answer=True)


def edit(graph: Graph, input_id: str, turn: Turn) -> Together:
    """Layers behind an input that turn its pictures."""
    shape, source, edits = graph[input_id].shape, input_id, []
    for place, (step, numbers) in enumerate(turn.steps):
        name = f"turned_{input_id}_{place}"
        if step == "transpose":
            shape = tuple(shape[axis] for axis in numbers)
            layer = Layer(name, "transpose", (source,), shape, hyperparameters={"order": numbers})
        elif step == "reshape":
            shape = (shape[0], *numbers)
            layer = Layer(name, "reshape", (source,), shape)
        else:
            layer = _flip(name, source, shape, numbers)
        edits.append(Insert(layer))
        source = name
    return Together(tuple(edits))


def _flip(name: str, source: str, shape: tuple[int, ...], axes: tuple[int, ...]) -> Layer:
    spans = [(side - 1, -side - 1, -1) if axis in axes else (0, side, 1) for axis, side in enumerate(shape)]
    begin, end, strides = zip(*spans, strict=True)
    return Layer(name, "slice", (source,), shape, hyperparameters={"begin": begin, "end": end, "strides": strides})


def improvement(case: Case, graph: Graph) -> float:
    """How many times smaller the error of the first output is with this graph as the target, on a few pictures."""
    try:
        start = {name: value[:PICTURES] for name, value in case.target.start.items()}
        found = evaluate.run(graph, start)[graph.outputs[0]]
        wanted, before = case.source.outputs[0][:PICTURES], case.target.outputs[0][:PICTURES]
        if found.size != wanted.size or before.size != wanted.size:
            return 0.0
        error = float(np.abs(wanted - found.reshape(wanted.shape)).max())
        return float(np.abs(wanted - before.reshape(wanted.shape)).max()) / max(error, 1e-12)
    except ConvfaultError:
        return 0.0
