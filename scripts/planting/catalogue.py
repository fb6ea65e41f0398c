"""Every kind of fault, by name."""

from __future__ import annotations

from planting import (
    activation_kinds,
    graph_kinds,
    hyperparameter_kinds,
    input_kinds,
    joint_parameter_kinds,
    tool_kinds,
    training_kinds,
    window_kinds,
)
from planting.kind import Kind
from planting.parameter_kinds import ROWS

_ALL: tuple[Kind, ...] = (
    *(row.kind() for row in ROWS),
    *joint_parameter_kinds.KINDS,
    *hyperparameter_kinds.KINDS,
    *window_kinds.KINDS,
    *activation_kinds.KINDS,
    *graph_kinds.KINDS,
    *training_kinds.KINDS,
    *input_kinds.KINDS,
    *tool_kinds.KINDS,
)
EXCEPT: dict[str, tuple[str, ...]] = {
    "norm_statistics_stale": ("tflite",),
    "norm_epsilon_changed": ("tflite",),
    "norm_missing": ("tflite",),
    "softmax_axis": ("tflite", "tensorflow"),
    "group_count_changed": ("tensorflow",),
    "mean_axes_changed": ("keras",),
    "pad_value_changed": ("keras",),
    "resize_coordinates_changed": ("keras",),
    "padding_moved": ("torch",),
    "tool_padding_moved": ("torch",),
    "resize_rounding_changed": ("tflite", "keras", "tensorflow"),
}
"""Formats that cannot have a kind, where the kind's own list does not say so."""

KINDS: dict[str, Kind] = {each.name: each for each in _ALL}


def formats_of(name: str) -> tuple[str, ...]:
    """The formats in which this kind of fault can be planted."""
    return tuple(each for each in KINDS[name].formats if each not in EXCEPT.get(name, ()))
