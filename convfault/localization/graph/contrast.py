"""What kind of difference a region is: its layers without those that both sides have, and the cause that they show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from convfault.localization.graph.absorbed import is_left_normalization
from convfault.localization.graph.pairing import CLOSE, Pairing
from convfault.localization.graph.regions import Region
from convfault.relax import fingerprint
from convfault.relax.graph import Layer
from convfault.relax.imported import UnsupportedOperator
from convfault.relax.kinds import POINTWISE, REDUCTIONS

SOFTMAX = frozenset({"softmax", "log_softmax"})
REORDERING = frozenset({"transpose", "reshape"})
RANDOM = ("dropout", "random", "bernoulli", "multinomial")
NORMALIZATION = ("batchnorm", "batch_norm", "batchnormalization")


@dataclass(frozen=True, eq=False)
class Contrast:
    """A region with its layers at hand: ``missing`` and ``extra`` without constants, unless there is nothing else."""

    pairing: Pairing
    region: Region

    @cached_property
    def missing(self) -> tuple[Layer, ...]:
        return _telling(tuple(self.pairing.source[name] for name in self.region.missing))

    @cached_property
    def extra(self) -> tuple[Layer, ...]:
        return _telling(tuple(self.pairing.target[name] for name in self.region.extra))

    @cached_property
    def left(self) -> tuple[tuple[Layer, ...], tuple[Layer, ...]]:
        """Missing and extra layers that the other side has not got within the region."""
        extra, missing = list(self.extra), []
        for layer in self.missing:
            twin = next((item for item in extra if same(layer, item)), None)
            if twin is None:
                missing.append(layer)
            else:
                extra.remove(twin)
        return tuple(missing), tuple(extra)

    @cached_property
    def joint(self) -> Layer | None:
        """The layer that joins a branch which only one side has: without it the branch leads nowhere.

        The other side reads in its place one of the things that it joins.
        """
        source, target = self.pairing.source, self.pairing.target
        if self.missing and not self.extra:
            ends = {slot.expected for slot in self.region.slots}
            layer = source[str(ends.pop())] if len(ends) == 1 and None not in ends else None
            others = {slot.actual for slot in self.region.slots}
            inputs = set() if layer is None else set(self.pairing.images(layer.inputs))
        else:
            ends = {slot.actual for slot in self.region.slots}
            alone = self.extra and not self.missing and len(ends) == 1 and None not in ends
            layer = target[str(ends.pop())] if alone else None
            others = set(self.pairing.images(str(slot.expected) for slot in self.region.slots))
            inputs = set() if layer is None else set(layer.inputs)
        return layer if layer is not None and len(inputs) > 1 and others <= inputs else None

    @cached_property
    def unknown(self) -> tuple[UnsupportedOperator, ...]:
        """The target's native operators in the region that the importer lacks."""
        nodes = {name for layer in self.extra if layer.kind == "opaque" for name in layer.native.names}
        return tuple(item for item in self.pairing.target.unsupported if item.node in nodes)

    @cached_property
    def flattening(self) -> bool:
        """Whether the region is read by a layer that takes a picture as a row of numbers."""
        shapes = [self.pairing.target[match.target] for match in self.region.readers]
        layers = [*shapes, *self.missing, *self.extra]
        return any(
            layer.kind == "dense" or (layer.kind == "reshape" and len(layer.shape) == 2)
            for layer in layers
            if layer.inputs
        )

    @cached_property
    def exchanged(self) -> bool:
        """Whether some layer reads in the target what comes after it in the source."""
        position, to_source = self.pairing.source.position, self.pairing.to_source
        return any(
            slot.reader is not None
            and slot.actual in to_source
            and position(to_source[slot.actual].source) > position(slot.reader.source)
            for slot in self.region.slots
        )


def _telling(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    return tuple(layer for layer in layers if layer.kind != "constant") or layers


def same(layer: Layer, other: Layer) -> bool:
    """Whether two layers do the same wherever they stand: shapes may differ."""
    if (layer.kind, dict(layer.hyperparameters)) != (other.kind, dict(other.hyperparameters)):
        return False
    if layer.parameters.keys() != other.parameters.keys():
        return False
    return fingerprint.distance(layer, other) < CLOSE


def moved(first: Contrast, second: Contrast) -> bool:
    """Whether one region lacks just what the other has too much: the layers stand elsewhere.

    Layers without parameters look alike everywhere: only near regions may be asked about them.
    """
    if first.extra or second.missing or not first.missing or len(first.missing) != len(second.extra):
        return False
    if first.region.outputs or second.region.outputs:
        return False
    return all(same(a, b) for a, b in zip(first.missing, second.extra, strict=True))


def near(first: Contrast, second: Contrast) -> bool:
    """Whether two regions may have to do with each other: near in the graph, or with the same parameters elsewhere."""
    own = any(layer.parameters for layer in (*first.missing, *second.missing))
    alike = moved(first, second) or moved(second, first)
    return (own and alike) or not _around(first).isdisjoint(_around(second))


def _around(contrast: Contrast) -> set[str]:
    """Source ids of the matched layers round a region, and of their neighbours."""
    pairing, region = contrast.pairing, contrast.region
    found = {match.source for match in region.readers}
    found |= {name for item in region.missing for name in pairing.source[item].inputs if name in pairing.to_target}
    for item in region.extra:
        found |= {pairing.to_source[n].source for n in pairing.target[item].inputs if n in pairing.to_source}
    near = {name for item in found for name in (*pairing.source[item].inputs, *pairing.source.readers[item])}
    return found | near


def _outputs(contrast: Contrast) -> str | None:
    if not contrast.region.outputs:
        return None
    if any(slot.actual is None for slot in contrast.region.slots):
        return "missing_output"
    return "extra_output" if any(slot.expected is None for slot in contrast.region.slots) else "reordered_outputs"


def _training(contrast: Contrast) -> str | None:
    """Dropout or batch normalization that behaves as in training: random numbers, or statistics of the batch."""
    for operator in contrast.unknown:
        name = operator.operator.lower().replace(".default", "")
        if any(word in name for word in RANDOM):
            return "train_mode_dropout"
        if "training mode" in operator.reason or any(word in name for word in NORMALIZATION):
            return "train_mode_batch_norm"
    batchwise = any(layer.kind in REDUCTIONS and 0 in layer["axes"] for layer in contrast.left[1])
    named = any(layer.kind == "batch_norm_in_training" for layer in contrast.extra)
    return "train_mode_batch_norm" if batchwise or named else None


def _wiring(contrast: Contrast) -> str | None:
    if contrast.missing or contrast.extra:
        return None
    if contrast.exchanged:
        return "misplaced_node"
    for match in contrast.region.readers:
        images = contrast.pairing.images(contrast.pairing.source[match.source].inputs)
        if sorted(map(str, images)) != sorted(contrast.pairing.target[match.target].inputs):
            return "rewired"
    return "input_order"


def _softmax(contrast: Contrast) -> str | None:
    missing, extra = contrast.left
    if missing and not extra and all(layer.kind in SOFTMAX for layer in missing):
        return "softmax_missing"
    if extra and not missing and all(layer.kind in SOFTMAX for layer in extra):
        before = _ancestors(contrast, extra[0])
        return "softmax_twice" if any(layer.kind in SOFTMAX for layer in before) else "softmax_extra"
    return None


def _ancestors(contrast: Contrast, layer: Layer) -> list[Layer]:
    """The layers that one layer reads, through reshapes and the like."""
    found, pending = [], list(layer.inputs)
    while pending:
        before = contrast.pairing.target[pending.pop()]
        found.append(before)
        if before.kind in REORDERING:
            pending.extend(before.inputs)
    return found


def _order(contrast: Contrast) -> str | None:
    """Transposes and reshapes, on their own or before a picture is flattened."""
    missing, extra = contrast.left
    left = (*missing, *extra)
    if not left or any(layer.kind not in REORDERING for layer in left):
        return None
    if any(layer.kind == "transpose" for layer in left):
        if contrast.flattening:
            return "flatten_order"
        if missing and extra:
            return "wrong_transpose"
        return "superfluous_transpose" if extra else "missing_transpose"
    return "superfluous_reshape" if not missing else "missing_reshape" if not extra else "wrong_reshape"


def _duplicated(contrast: Contrast) -> str | None:
    missing, extra = contrast.left
    if missing or not extra:
        return None
    twins = [_twin(contrast, layer) for layer in extra]
    return "duplicated_node" if all(twins) else None


def _twin(contrast: Contrast, layer: Layer) -> bool:
    """Whether a superfluous layer repeats the one that it reads or that reads it."""
    target = contrast.pairing.target
    around = (*layer.inputs, *target.readers[layer.id])
    return any(same(layer, target[name]) and name in contrast.pairing.to_source for name in around)


def _exchange(contrast: Contrast) -> str | None:
    missing, extra = contrast.left
    if _elsewhere(contrast):
        return "rewired"
    if missing and extra:
        if len(missing) == len(extra) == 1:
            if is_left_normalization(missing[0], extra[0]):
                return "missing_node"
            return "wrong_operator" if missing[0].kind != extra[0].kind else "changed_node"
        return "replaced_nodes"
    if missing:
        return "missing_node"
    if extra:
        return "extra_node"
    return "misplaced_node" if [a.kind for a in contrast.missing] != [b.kind for b in contrast.extra] else "rewired"


def _elsewhere(contrast: Contrast) -> bool:
    """Whether layers are only on one side because their reader reads something that has nothing to do with them."""
    pairing, region = contrast.pairing, contrast.region
    if not region.readers or (region.missing and region.extra):
        return False
    graph, names = (pairing.source, region.missing) if region.missing else (pairing.target, region.extra)
    before = [name for item in names for name in graph[item].inputs]
    frontier = set(pairing.images(before) if region.missing else before)
    images = pairing.images(str(slot.expected) for slot in region.slots)
    others = {slot.actual for slot in region.slots} if region.missing else set(images)
    return None not in others and frontier.isdisjoint(others)


RECOGNIZERS: tuple[Callable[[Contrast], str | None], ...] = (
    _outputs,
    _training,
    _wiring,
    _softmax,
    _order,
    _duplicated,
    _exchange,
)
"""The first that answers names the cause."""


def cause_of(contrast: Contrast) -> str:
    """The stable word for what happened."""
    return next(cause for recognize in RECOGNIZERS if (cause := recognize(contrast)) is not None)


def principal(contrast: Contrast, cause: str) -> tuple[str | None, str | None]:
    """The source and the target layer that stand for the region in a report; None where there is none."""
    missing, extra = contrast.left
    if cause == "misplaced_node":
        missing, extra = contrast.missing, contrast.extra
    if cause in {"rewired", "input_order"} and contrast.region.readers:
        missing, extra = (), ()
    if contrast.joint is not None and cause in {"missing_node", "extra_node"}:
        name = contrast.joint.id
        return (name, None) if cause == "missing_node" else (None, name)
    if missing or extra:
        return (_first(missing), _first(extra))
    if contrast.region.readers:
        readers = contrast.region.readers
        # of layers that changed places the one that could stand anywhere is the one that moved
        match = next((m for m in readers if contrast.pairing.source[m.source].kind in POINTWISE), readers[0])
        match = match if cause == "misplaced_node" else readers[0]
        return match.source, match.target
    slot = contrast.region.slots[0]
    return slot.expected, slot.actual


def _first(layers: tuple[Layer, ...]) -> str | None:
    telling = [layer for layer in layers if layer.kind not in REORDERING]
    return next((layer.id for layer in (*telling, *layers)), None)
