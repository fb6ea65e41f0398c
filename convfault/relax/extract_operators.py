"""Relax operators → layers: one small function each, in one layout and with attributes as canonical hyperparameters."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from convfault.relax import kinds
from convfault.relax.extract import Extraction, attributes, number, plain, shape_of
from convfault.relax.extract_constant import OPERATORS as CONSTANT_OPERATORS
from convfault.relax.extract_norm import OPERATORS as NORM_OPERATORS
from convfault.relax.extract_product import OPERATORS as PRODUCT_OPERATORS
from convfault.relax.extract_sequence import OPERATORS as SEQUENCE_OPERATORS
from convfault.relax.extract_window import OPERATORS as WINDOW_OPERATORS
from convfault.relax.graph import Native, Parameter

Operator = Callable[[Extraction, Any], "str | tuple[str, ...]"]


def _elementwise(kind: str) -> Operator:
    return lambda at, call: at.emit(call, kind, [at.id(argument) for argument in call.args]).id


def _clip(minimum: float, maximum: float) -> Operator:
    return lambda at, call: at.emit(call, "clip", [at.id(call.args[0])], {"minimum": minimum, "maximum": maximum}).id


def _clip_between(at: Extraction, call: Any) -> str:
    low, high = number(call.args[1]), number(call.args[2])
    return at.emit(call, "clip", [at.id(call.args[0])], {"minimum": low, "maximum": high}).id


def _with(kind: str, *names: str, **renamed: str) -> Operator:
    """A layer of one input that keeps some attributes, perhaps under other names."""

    def convert(at: Extraction, call: Any) -> str:
        found = attributes(call)
        values = {name: found[name] for name in names} | {new: found[old] for new, old in renamed.items()}
        return at.emit(call, kind, [at.id(call.args[0])], values).id

    return convert


def _reduction(kind: str) -> Operator:
    def convert(at: Extraction, call: Any) -> str:
        found, rank = attributes(call), len(shape_of(call.args[0]))
        axes = range(rank) if found["axis"] is None else sorted(int(axis) % rank for axis in found["axis"])
        return at.emit(call, kind, [at.id(call.args[0])], {"axes": tuple(axes), "keepdims": bool(found["keepdims"])}).id

    return convert


def _index_of(kind: str) -> Operator:
    def convert(at: Extraction, call: Any) -> str:
        found, rank = attributes(call), len(shape_of(call.args[0]))
        axis = None if found["axis"] is None else int(found["axis"]) % rank
        return at.emit(call, kind, [at.id(call.args[0])], {"axis": axis, "keepdims": bool(found["keepdims"])}).id

    return convert


def _on_axis(kind: str) -> Operator:
    def convert(at: Extraction, call: Any) -> str:
        axis = int(attributes(call)["axis"]) % len(shape_of(call.args[0]))
        return at.emit(call, kind, [at.id(call.args[0])], {"axis": axis}).id

    return convert


def _reshape(at: Extraction, call: Any) -> str:
    return at.emit(call, "reshape", [at.id(call.args[0])]).id


def _transpose(at: Extraction, call: Any) -> str:
    axes, rank = attributes(call)["axes"], len(shape_of(call))
    order = tuple(reversed(range(rank))) if axes is None else tuple(int(axis) % rank for axis in axes)
    return at.emit(call, "transpose", [at.id(call.args[0])], {"order": order}).id


def _concat(at: Extraction, call: Any) -> str:
    axis = int(attributes(call)["axis"] or 0) % len(shape_of(call))
    return at.emit(call, "concat", at.ids(call.args[0]), {"axis": axis}).id


def _split(at: Extraction, call: Any) -> tuple[str, ...]:
    """Each part is a slice of its own."""
    found, shape = attributes(call), shape_of(call.args[0])
    axis, parts = int(found["axis"]) % len(shape), found["indices_or_sections"]
    if isinstance(parts, int):
        size = -(-shape[axis] // parts)
        edges = [min(size * index, shape[axis]) for index in range(parts + 1)]
    else:
        edges = [0, *(int(edge) for edge in parts), shape[axis]]
    return tuple(_part(at, call, axis, span) for span in pairwise(edges))


def _part(at: Extraction, call: Any, axis: int, span: tuple[int, int]) -> str:
    spans = [(0, side, 1) for side in shape_of(call.args[0])]
    spans[axis] = (*span, 1)
    return _cut(at, at.id(call.args[0]), spans, Native())


def _cut(at: Extraction, source: str, spans: list[tuple[int, int, int]], native: Native) -> str:
    """A slice; along the first axis, where a batch stands else, with that axis moved out of the way."""
    layer = at.draft.layers[source]
    shape = [len(range(*span)) for span in spans]
    if len(spans) > 1 and shape[0] != layer.shape[0]:
        order = (1, 0, *range(2, len(spans)))
        inner = _cut(at, at.transposed(source, order), [spans[axis] for axis in order], Native())
        return at.draft.add("transpose", (inner,), shape, {"order": order}, native=native, dtype=layer.dtype).id
    values = {name: tuple(span[part] for span in spans) for part, name in enumerate(("begin", "end", "strides"))}
    return at.draft.add("slice", (source,), shape, values, native=native, dtype=layer.dtype).id


def _slice(at: Extraction, call: Any) -> str:
    """Begin and end as numpy resolves them, for all axes."""
    shape = shape_of(call.args[0])
    spans = [(0, side, 1) for side in shape]
    axes, first, last, *rest = (plain(argument) for argument in call.args[1:])
    steps = rest[0] if rest else [1] * len(axes)
    for axis, start, stop, step in zip(axes, first, last, steps, strict=True):
        spans[int(axis)] = slice(int(start), int(stop), int(step)).indices(shape[int(axis)])
    return _cut(at, at.id(call.args[0]), spans, at.native)


def _flip(at: Extraction, call: Any) -> str:
    """A cut that runs backwards along one axis."""
    shape = shape_of(call)
    spans = [(0, side, 1) for side in shape]
    axis = int(attributes(call)["axis"]) % len(shape)
    spans[axis] = (shape[axis] - 1, -1, -1)
    return _cut(at, at.id(call.args[0]), spans, at.native)


def _pad(at: Extraction, call: Any) -> str:
    found = attributes(call)
    widths = [int(width) for width in found["pad_width"]]
    pairs = tuple(zip(widths[::2], widths[1::2], strict=True))
    value = float(found["pad_value"] or 0.0) if found["pad_mode"] == "constant" else 0.0
    source, shape = at.id(call.args[0]), shape_of(call.args[0])
    if min(widths, default=0) < 0:  # less than nothing is cut off
        spans = [(max(-a, 0), side + min(b, 0), 1) for side, (a, b) in zip(shape, pairs, strict=True)]
        pairs = tuple((max(a, 0), max(b, 0)) for a, b in pairs)
        source = _cut(at, source, spans, Native() if any(map(any, pairs)) else at.native)
        if not any(map(any, pairs)):
            return source
    values = {"padding": pairs, "mode": found["pad_mode"], "value": value}
    return at.emit(call, "pad", [source], values).id


def _batch_norm(at: Extraction, call: Any) -> tuple[str, ...]:
    """The normalized value; the statistics that Relax also returns are the ones that went in."""
    found = attributes(call)
    rank = len(shape_of(call.args[0]))
    names = [at.id(argument) for argument in call.args]
    native, axis = at.native, int(found["axis"]) % rank
    to_last = (*(a for a in range(rank) if a != axis), axis)
    source = names[0] if axis == rank - 1 else at.transposed(names[0], to_last)
    kind = "batch_norm_in_training" if found["training"] else "batch_norm"
    shape = at.draft.layers[source].shape
    own = native if axis == rank - 1 else native.transposed(to_last)
    values = {"epsilon": float(found["epsilon"])}
    layer = at.draft.add(kind, [source, *names[1:]], shape, values, native=own)
    back = tuple(to_last.index(axis) for axis in range(rank))
    return (layer.id if axis == rank - 1 else at.transposed(layer.id, back), *names[3:5])


def _prelu(at: Extraction, call: Any) -> str:
    rank, axis = len(shape_of(call)), int(attributes(call)["axis"])
    slopes = at.id(call.args[1])
    shape = [1] * rank
    shape[axis] = -1
    count = at.draft.layers[slopes].shape[-1]
    broad = at.draft.add("reshape", [slopes], [count if side == -1 else 1 for side in shape]).id
    return at.emit(call, "prelu", [at.id(call.args[0]), broad]).id


def _take(at: Extraction, call: Any) -> str:
    axis = attributes(call)["axis"]
    axis = None if axis is None else int(axis) % len(shape_of(call.args[0]))
    return at.emit(call, "take", [at.id(argument) for argument in call.args[:2]], {"axis": axis}).id


def _largest(at: Extraction, call: Any) -> str | tuple[str, ...]:
    """Values and places of the largest, a layer each."""
    found, source = attributes(call), at.id(call.args[0])
    values = {"axis": int(found["axis"]) % len(shape_of(call.args[0])), "largest": bool(found["largest"])}
    wanted = {"both": (0, 1), "values": (0,), "indices": (1,)}[str(found["ret_type"])]
    fields = list(getattr(call.ty, "fields", [call.ty]))
    parts = [
        at.draft.add(
            "topk", (source,), [int(side) for side in field.shape], {**values, "output": number},
            native=Native(None, None, at.native.operators) if len(wanted) > 1 else at.native, dtype=str(field.dtype),
        ).id
        for number, field in zip(wanted, fields, strict=True)
    ]  # fmt: skip
    return tuple(parts) if len(wanted) > 1 else parts[0]


def _along(kind: str, *names: str, **settings: Any) -> Operator:
    """A layer of one input along one axis that keeps some attributes, numbers being their truth values."""

    def convert(at: Extraction, call: Any) -> str:
        found, rank = attributes(call), len(shape_of(call.args[0]))
        axis = None if found["axis"] is None else int(found["axis"]) % rank
        values = {"axis": axis} | {name: bool(found[name]) for name in names} | settings
        return at.emit(call, kind, [at.id(call.args[0])], values).id

    return convert


def _shape_to_tensor(at: Extraction, call: Any) -> str:
    """The static shape of what was asked, as numbers: index arithmetic on it is then computed ahead."""
    values = np.asarray([int(side) for side in call.args[0].ty.values], str(call.ty.dtype))
    return at.draft.add("constant", (), values.shape, {}, {"values": Parameter(values)}, dtype=str(values.dtype)).id


def _cast(at: Extraction, call: Any) -> str:
    return at.emit(call, "cast", [at.id(call.args[0])], {"to": str(call.ty.dtype)}).id


def _first(at: Extraction, call: Any) -> str:
    return at.id(call.args[0])


def _broadcast(at: Extraction, call: Any) -> str:
    return at.emit(call, "broadcast", [at.id(call.args[0])]).id


def _tile(at: Extraction, call: Any) -> str:
    repeats = tuple(attributes(call)["repeats"])
    return at.emit(call, "tile", [at.id(call.args[0])], {"repeats": repeats}).id


INFINITY = float("inf")
OPERATORS: dict[str, Operator] = {
    **{f"relax.{name}": _elementwise(name) for name in sorted(kinds.UNARY | kinds.BINARY | {"where"})},
    **{f"relax.nn.{name}": _elementwise(name) for name in ("gelu", "gelu_tanh", "selu")},
    **{f"relax.{name}": _reduction(name) for name in sorted(kinds.REDUCTIONS)},
    **{f"relax.{name}": _reshape for name in ("reshape", "squeeze", "expand_dims", "flatten", "nn.batch_flatten")},
    **CONSTANT_OPERATORS,
    **NORM_OPERATORS,
    **PRODUCT_OPERATORS,
    **SEQUENCE_OPERATORS,
    **WINDOW_OPERATORS,
    "relax.argmax": _index_of("argmax"),
    "relax.argmin": _index_of("argmin"),
    "relax.argsort": _along("argsort", "descending"),
    "relax.astype": _cast,
    "relax.broadcast_to": _broadcast,
    "relax.clip": _clip_between,
    "relax.concat": _concat,
    "relax.cumsum": _along("cumsum", "exclusive", reverse=False),
    "relax.flip": _flip,
    "relax.nn.batch_norm": _batch_norm,
    "relax.nn.dropout": lambda at, call: (at.id(call.args[0]), at.id(call.args[0])),
    "relax.nn.leakyrelu": _with("leaky_relu", slope="alpha"),
    "relax.nn.log_softmax": _on_axis("log_softmax"),
    "relax.nn.pad": _pad,
    "relax.nn.prelu": _prelu,
    "relax.nn.relu": _clip(0.0, INFINITY),
    "relax.nn.relu6": _clip(0.0, 6.0),
    "relax.nn.silu": _elementwise("swish"),
    "relax.nn.softmax": _on_axis("softmax"),
    "relax.nn.softplus": _with("softplus", "beta", "threshold"),
    "relax.permute_dims": _transpose,
    "relax.shape_to_tensor": _shape_to_tensor,
    "relax.split": _split,
    "relax.strided_slice": _slice,
    "relax.take": _take,
    "relax.sort": _along("sort", "descending"),
    "relax.tile": _tile,
    "relax.topk": _largest,
    "relax.wrap_param": _first,
}
