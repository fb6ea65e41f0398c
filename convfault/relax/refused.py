"""Operators that TVM would misread, put into the graph as what they are: see ``UnsupportedOperator.layer``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from convfault.relax.draft import Draft
from convfault.relax.graph import Native
from convfault.relax.imported import KnownLayer

if TYPE_CHECKING:
    from collections.abc import Sequence

TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


def transposed(draft: Draft, name: str, order: tuple[int, ...]) -> str:
    """The id of a layer's output transposed."""
    layer = draft.layers[name]
    native = Native(layer.native.tensor, layer.native.permutation).transposed(order)
    shape = [layer.shape[axis] for axis in order]
    return draft.add("transpose", (name,), shape, {"order": order}, native=native, dtype=layer.dtype).id


def place(draft: Draft, known: KnownLayer, shape: Sequence[int], native: Native, dtype: str) -> tuple[str, str]:
    """Add the layer, which reads nothing yet: its id, and that of its output in NCHW, of this ``shape``."""
    last = [shape[axis] for axis in TO_LAST]
    layer = draft.add(known.kind, (), last, known.hyperparameters, native=native.transposed(TO_LAST), dtype=dtype)
    return layer.id, transposed(draft, layer.id, TO_FIRST)


def join(draft: Draft, name: str, source: str) -> None:
    """Let a placed layer read the picture ``source``, in NCHW; what has no effect on its size is left out."""
    picture = transposed(draft, source, TO_LAST)
    layer = draft.layers[name]
    values = _plain(layer.kind, layer.hyperparameters, draft.layers[picture].shape)
    draft.put(replace(layer, inputs=(picture,), hyperparameters=values))


def _plain(kind: str, values: Mapping[str, Any], shape: Sequence[int]) -> dict[str, Any]:
    """A divisor that is the window's area, and scales that the sizes tell as well, are nothing special."""
    found = dict(values)
    if kind == "average_pool" and found.get("divisor") == math.prod(found["size"]):
        del found["divisor"]
    scales = found.get("scales")
    if scales is not None:
        exact = (side * scale for side, scale in zip(shape[1:3], scales, strict=True))
        if all(math.isclose(one, other, rel_tol=1e-6) for one, other in zip(exact, found["size"], strict=True)):
            del found["scales"]
    return found
