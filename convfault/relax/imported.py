"""What every importer hands over: a Relax module, and the native name of everything in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from convfault.errors import FormatError
from convfault.model import TensorSpec

Result = TypeVar("Result")


@dataclass(frozen=True)
class Origin:
    """The native operator that a Relax binding comes from.

    ``node`` is its native name, ``operator`` its native type, ``source`` the place in the user's program where the
    format records one (torch: the module path, then the file and line). ``owner`` is the layer that it is part of,
    where users know layers and not operators (Keras).
    """

    node: str
    operator: str
    source: tuple[str, ...] = ()
    owner: str = ""

    @property
    def called(self) -> str:
        """The name by which a user knows it."""
        return self.owner or self.node


@dataclass(frozen=True)
class Encoding:
    """How a native tensor stores its values: ``real = scale * (stored - zero_point)``, along ``axis`` when several.

    ``dtype`` is the stored one; a float16 tensor has scale 1. ``constant`` tells weights from activations. An
    activation without scales gets one anew for each picture, from the values that it has there. Where every block of
    a tensor has its own scale, ``blocks`` says how long one is along each axis.
    """

    tensor: str
    dtype: str
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int
    constant: bool
    blocks: tuple[int, ...] = ()

    @classmethod
    def half(cls, tensor: str, constant: bool) -> Encoding:
        """That of a tensor in float16."""
        return cls(tensor, "float16", (1.0,), (0,), 0, constant)

    @property
    def at_run_time(self) -> bool:
        """Whether the scale is found when the model runs."""
        return not self.scales


@dataclass(frozen=True)
class KnownLayer:
    """What an operator that TVM would misread computes: a canonical kind with its hyperparameters, on NHWC pictures."""

    kind: str
    hyperparameters: Mapping[str, Any]


@dataclass(frozen=True)
class UnsupportedOperator:
    """A native operator that the importer lacks or refuses, and why. Its outputs become inputs of the module.

    ``layer`` is there where convfault itself can say what it computes: the graph then holds that, though TVM's module
    does not. Its first input and its output are pictures in NCHW.
    """

    node: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[TensorSpec, ...]
    reason: str
    layer: KnownLayer | None = None


@dataclass(frozen=True)
class Imported:
    """A model in Relax.

    ``module`` is an ``IRModule`` whose ``main`` takes ``inputs``, then the outputs of every unsupported operator, and
    returns ``outputs``; all shapes are static. ``names`` maps a native tensor name to its Relax expression: a
    variable of ``main``, or a constant. ``origins`` maps the name of a native tensor to the operator that makes it.
    ``layout`` is that of the picture tensors of the native model.
    """

    module: Any
    names: Mapping[str, Any]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    layout: str
    origins: Mapping[str, Origin] = field(default_factory=dict)
    encodings: Mapping[str, Encoding] = field(default_factory=dict)
    unsupported: tuple[UnsupportedOperator, ...] = ()

    @property
    def dynamic(self) -> bool:
        """Whether the native model computes with stored integers, which the module's float values only approximate."""
        return any(not encoding.constant for encoding in self.encodings.values())


class OperatorRefusedError(Exception):
    """Raised by an importer over one native operator; ``node`` is its name."""

    def __init__(self, node: str, reason: str) -> None:
        super().__init__(node, reason)
        self.node, self.reason = node, reason


def import_around(attempt: Callable[[Mapping[str, str]], Result]) -> Result:
    """Import with every refused operator left out: ``attempt`` takes node → reason of those refused so far."""
    refused: dict[str, str] = {}
    while True:
        try:
            return attempt(refused)
        except OperatorRefusedError as refusal:
            if refusal.node in refused:
                raise FormatError(
                    f"operator '{refusal.node}' cannot be imported to Relax: {refusal.reason}"
                ) from refusal
            refused[refusal.node] = refusal.reason


def first_line(error: BaseException) -> str:
    """The part of a foreign exception that a reader needs."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1][:300]}" if lines else type(error).__name__
