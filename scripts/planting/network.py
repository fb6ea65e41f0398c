"""A model file opened for editing: what every format's editor offers, in words that fit all formats.

Tensor and operator names are always the file's own. An operator without a name of its own (TFLite) goes by its first
output. Kinds of operator: conv depthwise dense norm add sub mul max concat max_pool average_pool mean relu relu6 leaky
sigmoid tanh softmax reshape transpose pad resize dropout; everything else is ``other``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

Pads = tuple[tuple[int, int], tuple[int, int]]
NO_PADS: Pads = ((0, 0), (0, 0))
ACTIVATIONS = ("relu", "relu6", "leaky", "sigmoid", "tanh")


class Unfit(Exception):  # noqa: N818 - a no with its reason, not an error
    """The edit cannot be made at this place of this file; the message says why."""


@dataclass(frozen=True)
class Operator:
    """One operator; ``inputs`` and ``outputs`` are the tensors that carry data, constants left out."""

    name: str
    kind: str
    type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    handle: Any = field(default=None, compare=False, repr=False)
    module: str = ""
    """The layer or module that the operator is part of, where the format tells."""


@dataclass(frozen=True)
class Parameter:
    """A constant of an operator. ``axes`` names its dimensions: O out, I in, H, W, M (of size one or a multiplier)."""

    operator: str
    kind: str
    tensor: str
    role: str
    axes: str
    shape: tuple[int, ...]

    def axis(self, letter: str) -> int:
        return self.axes.index(letter)


@dataclass(frozen=True)
class Window:
    """What a convolution or a pool slides: (height, width) each; ``pads`` are (before, after) each."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: Pads

    def extent(self, size: tuple[int, int]) -> tuple[int, int]:
        """The output's height and width, rounded down, for an input of ``size``."""
        steps = zip(size, self.kernel, self.strides, self.dilations, self.pads, strict=True)
        height, width = ((n + sum(p) - d * (k - 1) - 1) // s + 1 for n, k, s, d, p in steps)
        return height, width

    def with_pads(self, pads: Pads) -> Window:
        return replace(self, pads=pads)


def same_pads(window: Window, size: tuple[int, int]) -> Pads:
    """TensorFlow's SAME: as many outputs as the strided input has, an odd pixel of padding behind."""
    steps = zip(size, window.kernel, window.strides, window.dilations, strict=True)
    totals = [max(0, (-(-n // s) - 1) * s + d * (k - 1) + 1 - n) for n, k, s, d in steps]
    height, width = ((total // 2, total - total // 2) for total in totals)
    return height, width


class Network(ABC):
    """A file being edited. Every change is in memory until ``save``."""

    format: str
    layout: str

    @abstractmethod
    def operators(self) -> list[Operator]:
        """All operators in the order of the file."""

    @abstractmethod
    def inputs(self) -> list[str]:
        """The model's own inputs."""

    @abstractmethod
    def outputs(self) -> list[str]:
        """The tensors that the model answers with, in order."""

    @abstractmethod
    def set_outputs(self, tensors: list[str]) -> None:
        """Answers with these tensors instead."""

    @abstractmethod
    def shape(self, tensor: str) -> tuple[int, ...]:
        """The tensor's shape, -1 where free."""

    @abstractmethod
    def parameters(self) -> list[Parameter]:
        """Weights, biases and statistics of all layers."""

    @abstractmethod
    def read(self, parameter: Parameter) -> np.ndarray:
        """The values as float32."""

    @abstractmethod
    def write(self, parameter: Parameter, values: np.ndarray) -> None:
        """Puts other values of the same shape in."""

    @abstractmethod
    def drop(self, parameter: Parameter) -> None:
        """Takes a bias out of its operator altogether."""

    @abstractmethod
    def window(self, operator: Operator) -> Window:
        """What a conv, depthwise, max_pool or average_pool slides."""

    @abstractmethod
    def put_window(self, operator: Operator, window: Window) -> bool:
        """Sets it, or answers False (and leaves all as it was) where the operator cannot express these pads."""

    @abstractmethod
    def attribute(self, operator: Operator, name: str) -> Any:
        """A setting by its common name, or None where this operator has none in this format."""

    @abstractmethod
    def set_attribute(self, operator: Operator, name: str, value: Any) -> None:
        """Changes a setting that ``attribute`` gave a value for."""

    @abstractmethod
    def rewire(self, operator: Operator, position: int, tensor: str) -> None:
        """Makes the operator read ``tensor`` as its data input number ``position``."""

    @abstractmethod
    def create(self, kind: str, tensor: str, **settings: Any) -> str:
        """A new operator that reads ``tensor``, placed right behind it; answers the new tensor, read by nobody yet."""

    @abstractmethod
    def replace(self, operator: Operator, kind: str) -> None:
        """Makes it an operator of another kind with the same inputs: add, sub, mul, max; a pool; an activation."""

    @abstractmethod
    def remove(self, operator: Operator) -> None:
        """Takes an operator out that nobody reads."""

    @abstractmethod
    def save(self, path: Path) -> None:
        """Writes the file."""

    def fused(self, operator: Operator) -> str | None:
        """The activation that is part of the operator itself, where the format has such."""
        return None

    def set_fused(self, operator: Operator, activation: str | None) -> None:
        """Changes the activation inside the operator."""
        raise Unfit(f"{self.format} operators have no activation inside")

    def droppable(self, parameter: Parameter) -> bool:
        """Whether the format's runtime bears this operator without its bias."""
        return True

    def regroup(self, operator: Operator, weight: Parameter, values: np.ndarray) -> None:
        """Gives a convolution a kernel for two groups."""
        raise Unfit(f"groups cannot be changed in {self.format}")

    # what the editors share

    def find(self, name: str) -> Operator:
        return next(each for each in self.operators() if each.name == name)

    def producer(self, tensor: str) -> Operator | None:
        return next((each for each in self.operators() if tensor in each.outputs), None)

    def consumers(self, tensor: str) -> list[Operator]:
        return [each for each in self.operators() if tensor in each.inputs]

    def redirect(self, old: str, new: str, sparing: tuple[str, ...] = ()) -> None:
        """Lets every reader of ``old`` read ``new``, the model's outputs too; operators in ``sparing`` stay."""
        for consumer in self.consumers(old):
            if consumer.name not in sparing:
                for position, tensor in enumerate(consumer.inputs):
                    if tensor == old:
                        self.rewire(consumer, position, new)
        if old in self.outputs():
            self.set_outputs([new if each == old else each for each in self.outputs()])

    def bypass(self, operator: Operator, position: int = 0) -> None:
        """Lets the readers of the operator read what it reads."""
        self.redirect(operator.outputs[0], operator.inputs[position], (operator.name,))

    def insert_after(self, tensor: str, kind: str, **settings: Any) -> Operator:
        """A new operator behind ``tensor``, between it and all its readers."""
        made = self.create(kind, tensor, **settings)
        operator = self.made(made)
        self.redirect(tensor, made, (operator.name,))
        return self.find(operator.name)

    def unread(self) -> set[str]:
        """Names of operators whose results nobody reads."""
        read = {tensor for each in self.operators() for tensor in each.inputs} | set(self.outputs())
        return {each.name for each in self.operators() if not read & set(each.outputs)}

    def prune(self, sparing: set[str]) -> None:
        """Removes what nobody reads any more; ``sparing`` were never read."""
        while dead := self.unread() - sparing:
            for each in self.operators():
                if each.name in dead:
                    self.remove(each)

    def made(self, tensor: str) -> Operator:
        operator = self.producer(tensor)
        assert operator is not None
        return operator

    def insert_before(self, operator: Operator, position: int, kind: str, **settings: Any) -> Operator:
        """A new operator that only ``operator`` reads."""
        made = self.create(kind, operator.inputs[position], **settings)
        self.rewire(self.find(operator.name), position, made)
        return self.made(made)

    def set_window(self, operator: Operator, window: Window) -> None:
        """Sets the window; padding that the operator itself cannot express becomes an operator before it."""
        if self.put_window(operator, window):
            return
        if operator.kind not in ("conv", "depthwise"):
            raise Unfit(f"{operator.type} cannot express these pads")
        if not self.put_window(operator, window.with_pads(NO_PADS)):
            raise Unfit(f"{operator.type} cannot go without pads")
        self.insert_before(self.find(operator.name), 0, "pad", pads=window.pads)

    def size(self, tensor: str) -> tuple[int, int]:
        """Height and width of a picture-shaped tensor."""
        shape = self.shape(tensor)
        if len(shape) != 4:
            raise Unfit(f"{tensor} is no picture: {shape}")
        start = self.spatial[0]
        return shape[start], shape[start + 1]

    @property
    def spatial(self) -> tuple[int, int]:
        return (1, 2) if self.layout == "NHWC" else (2, 3)

    @property
    def channels(self) -> int:
        return 3 if self.layout == "NHWC" else 1
