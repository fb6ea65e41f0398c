"""Permuted channels: whether a layer's filters are the source's in another order, and what reads them in that order.

A filter is known by figures that no permutation of its inputs or transposition of its window changes: bias, sum,
norm, third moment, extremes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.spatial import cKDTree

from convfault.comparing.pairing import is_scores
from convfault.localization.parameters.filters import Order, reordered
from convfault.relax.graph import Array, Graph, Layer
from convfault.relax.kinds import BINARY, LINEAR, POINTWISE, REDUCTIONS

CHANNELWISE = POINTWISE | REDUCTIONS | {"max_pool", "average_pool", "resize", "pad", "prelu", "softmax"}
"""Kinds whose output has its channels in the order of the input's, if they leave the last axis alone."""

MOVES = frozenset({"reshape", "transpose"})
"""Kinds that deal channels out by their places."""

SAME = 0.05
"""Mean distance of paired filters, in standard deviations of each figure, up to which they are the same ones."""


SORTED = 0.02
"""The same for the figures sorted one by one, which those of other filters come near to when there are many."""

FITS = 0.5
"""Weights fit one order of their inputs and not the other when they are off by less than this share of the other."""


def order_of(source: Layer, target: Layer) -> Order | None:
    """The target's filter ``i`` is the source's filter ``order[i]``; None: they are not the same filters."""
    if not _like_norms(source, target):  # quick, and so for nearly all that are not permuted
        return None
    figures = [_figures(layer) for layer in (source, target)]
    if figures[0] is None or figures[1] is None or figures[0].shape != figures[1].shape:
        return None
    middle, spread = np.median(figures[0], axis=0), figures[0].std(0)
    told = spread > 1e-9 * np.abs(middle)
    if not np.all(np.isfinite(figures[1])) or not np.any(told):
        return None
    a, b = (((item - middle) / np.where(told, spread, 1))[:, told] for item in figures)
    if np.abs(np.sort(a, axis=0) - np.sort(b, axis=0)).mean() > SORTED:
        return None
    distances, nearest = cKDTree(a).query(b)
    unique = len(np.unique(nearest)) == len(nearest)
    return tuple(nearest.tolist()) if unique and distances.mean() < SAME else None


def _like_norms(source: Layer, target: Layer) -> bool:
    """Whether the sorted norms of two layers' filters are the same."""
    arrays = [layer.parameters["weights"].values for layer in (source, target) if "weights" in layer.parameters]
    if len(arrays) < 2 or arrays[0].shape[-1:] != arrays[1].shape[-1:] or arrays[0].size != arrays[1].size:
        return not arrays
    flat = [array.reshape(-1, array.shape[-1]) for array in arrays]
    norms = [np.sort(np.sqrt(np.einsum("kf,kf->f", array, array, dtype=np.float64))) for array in flat]
    return bool(np.abs(norms[0] - norms[1]).mean() <= SORTED * norms[0].std())


def _figures(layer: Layer) -> Array | None:
    """(filters, figures) of all parameters that have the filters last; None where there are none."""
    width = layer.shape[-1] if layer.shape else 0
    arrays = [item.values.astype(np.float64) for _, item in sorted(layer.parameters.items())]
    flat = [array.reshape(-1, width) for array in arrays if width > 1 and array.shape[-1:] == (width,)]
    if not flat:
        return None
    rows: list[Array] = []
    for array in flat:
        rows.append(array.sum(0))
        if len(array) > 1:
            rows += [np.sqrt((array**2).sum(0)), np.cbrt((array**3).sum(0)), array.max(0), array.min(0)]
    return np.stack(rows, axis=1)


def orders(source: Graph, target: Graph, pairs: Mapping[str, str], known: Mapping[str, Order]) -> dict[str, Order]:
    """Source layer id → order of its counterpart's channels, for all matched layers whose channels are permuted.

    ``pairs`` gives each source layer's counterpart, ``known`` the orders of layers with filters (``order_of``). Left
    out are filters in another order that no layer behind follows: that is a fault of the layer itself.
    """
    moved = {name: order for name, order in known.items() if not _is_identity(order)}
    while moved:
        found = _handed_on(source, target, pairs, known, moved)
        alone = {name for name in moved if not _followed(source, target, pairs, found, name)}
        if not alone:
            return found
        moved = {name: order for name, order in moved.items() if name not in alone}
    return {}


def _handed_on(
    source: Graph, target: Graph, pairs: Mapping[str, str], known: Mapping[str, Order], moved: Mapping[str, Order]
) -> dict[str, Order]:
    """``moved``, and the orders that layers without filters inherit from their inputs."""
    found = dict(moved)
    for layer in source:
        if layer.id in known or layer.id not in pairs or layer.parameters.get("weights"):
            continue
        inherited = _inherited(source, target, layer, target[pairs[layer.id]], pairs, found)
        if inherited is not None and not _is_identity(inherited):
            found[layer.id] = inherited
    return found


def _followed(source: Graph, target: Graph, pairs: Mapping[str, str], found: Mapping[str, Order], name: str) -> bool:
    """Whether some layer that reads these channels reads them in their new order; true where none says.

    Classes may be told in another order, which is a matter of the labels. Where the channels of any other output stand
    otherwise, something that knows no order reads them (a pixel shuffle), or they meet others that stand still, nobody
    follows.
    """
    waiting, seen, followers = [name], {name}, list[bool]()
    while waiting:
        at = waiting.pop()
        if at in source.outputs and not is_scores(source[at].shape[1:]):
            followers.append(False)
        for reader in set(source.readers[at]) - seen:
            seen.add(reader)
            layer = source[reader]
            if "weights" in layer.parameters and reader in pairs:
                order = found[at]
                followers.append(_reads_in(order, found.get(reader), layer, target[pairs[reader]]))
            elif reader in found:
                waiting.append(reader)
            elif reader in pairs and (layer.kind in MOVES or _stands_beside(source, found, pairs, layer, found[at])):
                followers.append(False)
    return not followers or any(followers)


def _stands_beside(
    source: Graph, found: Mapping[str, Order], pairs: Mapping[str, str], layer: Layer, order: Order
) -> bool:
    """Whether a layer combines channels of this order with as many that have another one."""
    others = [name for name in layer.inputs if name in pairs and found.get(name) != order]
    return layer.kind in BINARY and any(source[name].shape[-1:] == (len(order),) for name in others)


def _reads_in(order: Order, own: Order | None, source: Layer, target: Layer) -> bool:
    """Whether the target's weights fit inputs of this order at least as well as inputs that stand as the source's."""
    wanted, actual = (layer.parameters["weights"].values for layer in (source, target))
    if wanted.shape != actual.shape or source.kind not in LINEAR:
        return True
    still, moved = (reordered(source, wanted, inputs, own) for inputs in (None, order))
    if still is moved or np.array_equal(still, moved):  # a depthwise filter would have moved too
        return False
    errors = [float(np.abs(each - actual).sum()) for each in (still, moved)]
    return not errors[0] < FITS * errors[1]


def _inherited(
    source: Graph, target: Graph, layer: Layer, other: Layer, pairs: Mapping[str, str], found: Mapping[str, Order]
) -> Order | None:
    names = [name for name in layer.inputs if pairs.get(name) in other.inputs]
    given = [found.get(name, tuple(range(source[name].shape[-1]))) for name in names if source[name].shape]
    if len(names) != len(layer.inputs) or not given or not any(name in found for name in names):
        return None
    if layer.kind == "concat":
        return _joined(layer, other, dict(zip(names, given, strict=True)), source, target, pairs)
    if _flattens(source[names[0]], layer):
        pixels, width = layer.shape[-1] // len(given[0]), len(given[0])
        return tuple(pixel * width + place for pixel in range(pixels) for place in given[0])
    equal = all(order == given[0] for order in given) and layer.shape[-1:] == (len(given[0]),)
    channelwise = layer.kind in CHANNELWISE or _drops_sides(source[names[0]], layer) or len(names) > 1
    return given[0] if equal and channelwise else None


def _flattens(source: Layer, layer: Layer) -> bool:
    """Whether a reshape makes one axis of all, the channels still the fastest."""
    return layer.kind == "reshape" and len(layer.shape) == 2 and layer.shape[-1] > source.shape[-1]


def _drops_sides(source: Layer, layer: Layer) -> bool:
    """Whether a reshape only takes out or puts in axes of size 1 before the channels."""
    return layer.kind == "reshape" and np.prod(source.shape[1:-1]) == 1 and np.prod(layer.shape[1:-1]) == 1


def _joined(
    layer: Layer,
    other: Layer,
    given: Mapping[str, Order],
    source: Graph,
    target: Graph,
    pairs: Mapping[str, str],
) -> Order | None:
    """The order behind a concat of channels, whose inputs may stand in another order too."""
    if layer["axis"] not in {-1, len(layer.shape) - 1} or len(set(layer.inputs)) != len(layer.inputs):
        return None
    starts: dict[str, int] = {}
    at = 0
    for name in layer.inputs:
        starts[name], at = at, at + source[name].shape[-1]
    back = {pairs[name]: name for name in layer.inputs}
    return tuple(starts[back[name]] + place for name in other.inputs for place in given[back[name]])


def _is_identity(order: Order) -> bool:
    return order == tuple(range(len(order)))
