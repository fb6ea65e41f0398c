"""The ``Grain`` of a tensor: on which few numbers its values lie because they once were stored in fewer bits.

Half-precision values are told by their bits. Integers that were turned back into floats lie on a lattice, whole
multiples of one step a channel (or one for all); as a rule the largest value has the largest code (Jacob et al., 2018,
Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference), so the step is the
largest value divided by 127; else by any smaller code that makes all of them whole. A scale folded in behind leaves a
lattice a lattice, and a half-precision number with the same relative error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from convfault.relax.graph import Array

HALF_STEP = 0.51
"""Rounding to the nearest is off by half a step, and float32 by a little more."""
WHOLE = 4e-3
"""How far from a whole number a code may be: 255 times the relative error of float32 folding (about 1e-6) and room."""
SAMPLES, CODES = 256, 255
FEW = 4
"""Values, fewer of which lie on any lattice."""


@dataclass(frozen=True, eq=False)
class Grain:
    """``kind``: ``float16``, ``bfloat16`` or ``int``. ``steps`` of a lattice, broadcasting against the values.

    ``axis`` of the steps when there are several, None for one step for all; ``largest``: the largest code.
    """

    kind: str
    bits: int
    relative: float = 0.0
    smallest: float = 0.0
    steps: Array | None = None
    axis: int | None = None
    largest: int = 0

    def slack(self, values: Array) -> Array:
        """How far each value may be from the number that it was rounded from."""
        if self.steps is not None:
            return np.broadcast_to(self.steps * HALF_STEP, values.shape)
        return np.asarray(np.maximum(np.abs(values) * self.relative, self.smallest))

    @property
    def title(self) -> str:
        """As ``float16``, ``int8``."""
        return f"int{self.bits}" if self.kind == "int" else self.kind


FLOAT16 = Grain("float16", 16, 2.0**-11, 2.0**-23)
"""Half of the smallest number would be 2**-25; converters also keep tiny ones from becoming zero, by two of it."""
BFLOAT16 = Grain("bfloat16", 16, 2.0**-7, 2.0**-133)
"""Half a unit in the last place would be 2**-8; converters also truncate."""


def _is_float16(values: Array) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.array_equal(values.astype(np.float16).astype(np.float32), values))


def _is_bfloat16(values: Array) -> bool:
    return not np.any(np.ascontiguousarray(values, np.float32).view(np.uint32) & 0xFFFF)


HALVES: tuple[tuple[Grain, Callable[[Array], bool]], ...] = ((BFLOAT16, _is_bfloat16), (FLOAT16, _is_float16))
"""The coarser first: most bfloat16 numbers are float16 numbers, too."""


def grain_of(actual: Array, expected: Array) -> Grain | None:
    """The grain of ``actual`` where ``expected`` has it not; values of more than one channel have them last."""
    if actual.size < FEW or not np.isfinite(actual).all() or np.all(actual == 0):
        return None
    for grain, test in HALVES:
        if test(actual):
            return None if test(expected) else grain
    found = _lattice(actual)
    if found is None or found.steps is None:
        return None
    return None if _on_lattice(expected, found.steps) else found


def _on_lattice(values: Array, steps: Array) -> bool:
    """Whether a sample of the values are whole multiples of the steps."""
    places = np.arange(0, values.size, max(values.size // (SAMPLES * 16), 1))
    sizes = np.broadcast_to(np.where(steps > 0, steps, 1), values.shape)
    index = np.unravel_index(places, values.shape)
    return _whole(values[index] / sizes[index], WHOLE)


def _lattice(values: Array) -> Grain | None:
    """A lattice with one step for all, by output channel, or along another axis: the first that fits."""
    if np.unique(values.reshape(-1)[:: max(values.size // SAMPLES, 1)]).size < 4:  # constants lie on any lattice
        return None
    whole = _codes(values.reshape(-1, 1))
    if whole is not None:
        return _grain(values, whole, None)
    axes = [axis for axis in range(values.ndim) if values.shape[axis] > 1 and values.ndim > 1]
    for axis in reversed(axes):
        columns = np.moveaxis(values, axis, -1).reshape(-1, values.shape[axis])
        if len(columns) >= 4:
            found = _codes(columns)
            if found is not None:
                return _grain(values, found, axis)
    return None


def _grain(values: Array, found: tuple[Array, int], axis: int | None) -> Grain:
    steps, largest = found
    bits = int(np.ceil(np.log2(largest + 1))) + 1
    bits = next(size for size in (2, 4, 8, 16, 32) if bits <= size or (largest <= CODES and size == 8))
    if axis is None:
        return Grain("int", bits, steps=steps.reshape(()), largest=largest)
    side = [1] * values.ndim
    side[axis] = -1
    return Grain("int", bits, steps=steps.reshape(side), axis=axis, largest=largest)


def _codes(columns: Array) -> tuple[Array, int] | None:
    """The step of each column (rows, columns) on which its values are whole, and the largest code."""
    largest = np.abs(columns).max(axis=0)
    rows = np.linspace(0, len(columns) - 1, min(len(columns), SAMPLES)).astype(int)
    shares = np.abs(columns[rows] / np.where(largest > 0, largest, 1)).astype(np.float64)
    for code in (127, 128, 7, 32767):
        if _whole(shares * code, WHOLE if code < 256 else 0.02):
            return _checked(columns, largest, code)
    few = shares[:, np.linspace(0, shares.shape[1] - 1, min(shares.shape[1], 4)).astype(int)]
    if not all(_smallest_code(few[:, [index]]) for index in range(few.shape[1])):
        return None
    codes = np.array([_smallest_code(shares[:, [index]]) or 0 for index in range(shares.shape[1])])
    return _checked(columns, largest, codes) if codes.all() else None


def _smallest_code(shares: Array) -> int | None:
    codes = np.arange(1, CODES + 1)
    products = shares.reshape(-1, 1) * codes
    fits = np.abs(products - np.rint(products)).max(axis=0) < WHOLE
    return int(codes[np.argmax(fits)]) if fits.any() else None


def _whole(products: Array, tolerance: float) -> bool:
    return bool(np.all(np.abs(products - np.rint(products)) < tolerance))


def _checked(columns: Array, largest: Array, code: int | Array) -> tuple[Array, int] | None:
    """The steps, if all values are whole multiples, not only the sample."""
    steps = np.asarray(largest / code, np.float64)
    products = columns / np.where(steps > 0, steps, 1)
    top = int(np.max(code))
    return (steps, top) if _whole(products, WHOLE if top < 256 else 0.02) else None
