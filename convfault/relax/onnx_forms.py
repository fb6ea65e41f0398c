"""ONNX operators on stored integers, each with the operator on real numbers that it stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Slots = tuple[int, int, int]
"""Where an operator reads a tensor, its scale and its zero point; -1 for none."""

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
ROUNDS_AT_RUN_TIME = "DynamicQuantizeLinear"
"""Finds the scale itself, of what it rounds, and gives it with the integers."""
ROUNDS = frozenset({QUANTIZE, ROUNDS_AT_RUN_TIME})

PASSING = frozenset(
    {
        "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Pad", "Reshape", "Resize", "Slice",
        "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
    }
)  # fmt: skip
"""Operators whose first input may be integers, which they give on as they are."""


@dataclass(frozen=True)
class Form:
    """``kind`` is the float operator; it reads ``tensors``, then ``bias``: int32 in steps of the product of theirs.

    ``result`` is where scale and zero point of the output are given; None: the output is float. ``added`` is a float
    bias that the float operator does not take.
    """

    kind: str
    tensors: tuple[Slots, ...]
    result: tuple[int, int] | None
    bias: int | None = None
    added: int | None = None


ONE, TWO = ((0, 1, 2),), ((0, 1, 2), (3, 4, 5))

FORMS = {
    "QGemm": Form("Gemm", TWO, (7, 8), bias=6),
    "QLinearAdd": Form("Add", TWO, (6, 7)),
    "QLinearAveragePool": Form("AveragePool", ONE, (3, 4)),
    "QLinearConv": Form("Conv", TWO, (6, 7), bias=8),
    "QLinearGlobalAveragePool": Form("GlobalAveragePool", ONE, (3, 4)),
    "QLinearLeakyRelu": Form("LeakyRelu", ONE, (3, 4)),
    "QLinearMatMul": Form("MatMul", TWO, (6, 7)),
    "QLinearMul": Form("Mul", TWO, (6, 7)),
    "QLinearReduceMean": Form("ReduceMean", ONE, (3, 4)),
    "QLinearSigmoid": Form("Sigmoid", ONE, (3, 4)),
    "QLinearSoftmax": Form("Softmax", ONE, (3, 4)),
    "MatMulIntegerToFloat": Form("MatMul", ((0, 2, 4), (1, 3, 5)), None, added=6),
}


def form_of(kind: str, inputs: Sequence[str], settings: Mapping[str, Any]) -> Form | None:
    """The form of an operator, None for one that is no such or cannot be said in float."""
    if kind == "QLinearConcat":
        return Form("Concat", tuple((place, place + 1, place + 2) for place in range(2, len(inputs), 3)), (0, 1))
    form = FORMS.get(kind)
    if form is None or settings.get("channels_last"):
        return None
    if kind == "QLinearSoftmax" and settings.get("opset", 13) < 13 and settings.get("axis", 1) != -1:
        return None  # it would flatten what is behind the axis
    if form.result is not None and not given(inputs, form.result[0]):
        return Form(form.kind, form.tensors, None, form.bias)
    return form


def given(inputs: Sequence[str], slot: int) -> str:
    """What an operator reads in a slot, "" where that is left out."""
    return inputs[slot] if 0 <= slot < len(inputs) else ""


def float_settings(kind: str, settings: Mapping[str, Any], opset: int) -> tuple[dict[str, Any], list[int] | None]:
    """The attributes of the float operator; the axes where they are its second input in this opset."""
    kept = {name: value for name, value in settings.items() if name not in {"channels_last", "opset"}}
    if kind == "Softmax":
        kept.setdefault("axis", -1)
    if kind == "ReduceMean" and opset >= 18:
        return kept, [int(axis) for axis in kept.pop("axes", [])] or None
    return kept, None


def axis_of(kind: str, place: int, settings: Mapping[str, Any], rank: int) -> int:
    """Along which axis several scales of the ``place``-th tensor of a float operator run."""
    if kind == "MatMul":
        return max(rank - (1 if place else 2), 0)
    if kind == "Gemm" and place:
        return 0 if settings.get("transB") else 1
    return 0
