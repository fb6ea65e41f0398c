"""The analyzer of the graph: nodes that are missing, superfluous, misplaced, wrongly connected or of another kind.

*What it finds*: the places where the aligned graphs are wired differently (``regions``), one suspect for each, with
what undoes it (``transplant``). A region that computes the same in another spelling is none: both sides are computed on
the same values (``spelling``).
*How it arises*: converters insert transposes and leave some behind, fuse what may not be fused, forget operators whose
attributes they don't know, and mix up inputs where an operator lists them otherwise.
*Example*: onnx2tf 1.4.2 swapped the operands of YOLOX's subtraction.
*How it is repaired*: the region gets the source's layers, in the target's own format.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from convfault.localization.case import Case
from convfault.localization.graph.absorbed import absorbing, refolded
from convfault.localization.graph.causes import CAUSES, explained, named, outputs_of
from convfault.localization.graph.contrast import Contrast, cause_of, moved, near, principal
from convfault.localization.graph.flattening import flattening_order
from convfault.localization.graph.nested import told_once
from convfault.localization.graph.pairing import Pairing
from convfault.localization.graph.regions import regions, together
from convfault.localization.graph.spelling import Spelling
from convfault.localization.graph.transplant import transplant
from convfault.localization.input.claimed import claimed
from convfault.localization.suspect import Suspect
from convfault.relax.edits import Edit, SetOutputs, SetParameters, Together
from convfault.relax.evaluate import GIVEN, OPERATIONS
from convfault.relax.fingerprint import distance
from convfault.relax.graph import Layer

UNSURE = 0.5
"""Confidence where an operator is involved that convfault can only watch, not compute."""

__all__ = ["CAUSES", "examine"]


def examine(case: Case) -> list[Suspect]:
    """The suspects of the graph, in the source's order."""
    pairing = Pairing(case.source.graph, case.target.graph, case.alignment)
    work = Examination(case, pairing)
    found = told_once(pairing, list(work.suspects()))
    return [*found, *_inputs(pairing), *_flattenings(pairing), *_output_order(case)]


class Examination:
    """The regions of one case, judged one by one."""

    def __init__(self, case: Case, pairing: Pairing) -> None:
        self.case, self.pairing = case, pairing
        self.spelling = Spelling(case, pairing)
        self.regions = regions(pairing)
        apart = {region: refolded(pairing, region) for region in self.regions}
        self.apart = {region: match.target for region, match in apart.items() if match is not None}

    def suspects(self) -> Iterator[Suspect]:
        """Regions that are near each other are looked at in pairs first: a layer that moved leaves two."""
        contrasts = {number: Contrast(self.pairing, item) for number, item in enumerate(self.regions)}
        for first, second in combinations(tuple(contrasts), 2):
            if first in contrasts and second in contrasts and near(contrasts[first], contrasts[second]):
                pair = contrasts[first], contrasts[second]
                error = self.spelling.error(together(*(item.region for item in pair)))
                if error == 0 or moved(*pair) or moved(*pair[::-1]):
                    del contrasts[first], contrasts[second]
                if error > 0 and first not in contrasts:
                    yield self._misplaced(*pair, error)
        for contrast in contrasts.values():
            if self._is_claimed(contrast) or contrast.region in self.apart:
                continue
            error = self._error(contrast)
            if error > 0:
                yield self._suspect(contrast, cause_of(contrast), error, transplant(self.pairing, contrast.region))

    def _is_claimed(self, contrast: Contrast) -> bool:
        """Whether the input analyzer tells it: it lies before the first layers, or exchanges the inputs."""
        taken = claimed(self.case)
        missing, extra = ({layer.id for layer in side} for side in (contrast.missing, contrast.extra))
        if missing or extra:
            return missing <= taken.source and extra <= taken.target
        ends = [(slot.expected, slot.actual) for slot in contrast.region.slots]
        inputs = (self.pairing.source.inputs, self.pairing.target.inputs)
        return taken.exchanged and all(one in inputs[0] and other in inputs[1] for one, other in ends)

    def _error(self, contrast: Contrast) -> float:
        """The region's error; 0 when it is only another spelling, or when nothing speaks against it."""
        foreign = any(_is_foreign(layer) for layer in (*contrast.missing, *contrast.extra))
        if not foreign and all(layer.kind != "opaque" for layer in contrast.extra):
            return self.spelling.error(contrast.region)
        native = self.spelling.native_error(contrast.region)
        if native is None:  # an operator that nobody here can compute is no fault by itself
            return np.inf if cause_of(contrast).startswith("train_mode") else 0.0
        return native

    def _misplaced(self, first: Contrast, second: Contrast, error: float) -> Suspect:
        """Two regions, of which one lacks what the other has too much, as one suspect."""
        having, lacking = (first, second) if first.extra else (second, first)
        edits = [transplant(self.pairing, item.region) for item in (having, lacking)]
        edit = None if None in edits else Together(tuple(item for item in edits if item is not None))
        merged = Contrast(self.pairing, together(having.region, lacking.region))
        return self._suspect(merged, "misplaced_node", error, edit)

    def _suspect(self, contrast: Contrast, cause: str, error: float, edit: Edit | None) -> Suspect:
        if cause == "train_mode_batch_norm" and edit is not None:
            edit = self._with_folded_weights(contrast, edit)
        elif edit is not None:
            edit = self._with_absorbed_scales(contrast, edit)
        if contrast.unknown and not cause.startswith("train_mode"):
            cause = "unknown_operator_differs"
        source, target = principal(contrast, cause)
        expected, actual = self._values(contrast, cause)
        confidence = min((match.confidence for match in contrast.region.readers), default=1.0)
        return Suspect(
            kind="graph",
            cause=cause,
            explanation=explained(contrast, cause),
            suggestion=CAUSES[cause].repair,
            source=source,
            target=target,
            attribute="inputs" if cause in {"rewired", "input_order"} else None,
            expected=expected,
            actual=actual,
            evidence=_evidence(contrast, error),
            confidence=min(confidence, UNSURE) if contrast.unknown else confidence,
            edit=edit,
        )

    def _values(self, contrast: Contrast, cause: str) -> tuple[object, object]:
        """Expected and actual in native words: operators, or what is read."""
        source, target = self.pairing.source, self.pairing.target
        if cause in {"rewired", "input_order"} and contrast.region.readers:
            match = contrast.region.readers[0]
            return tuple(
                [named(graph[name]) for name in graph[layer].inputs]
                for graph, layer in ((source, match.source), (target, match.target))
            )  # type: ignore[return-value]
        if contrast.region.outputs:
            return outputs_of(source), outputs_of(target)
        missing, extra = contrast.left
        if not (missing or extra):
            missing, extra = contrast.missing, contrast.extra
        return _kinds(missing), _kinds(extra)

    def _with_absorbed_scales(self, contrast: Contrast, edit: Edit) -> Edit:
        """With the source's weights where the target's took a scale from the region."""
        parts = [edit]
        for match in absorbing(self.pairing, contrast.region):
            if match.target in self.apart.values():  # its scale stands behind it still
                continue
            parameters = self.pairing.source[match.source].parameters
            parts.append(SetParameters(match.target, {name: item.values for name, item in parameters.items()}))
        return Together(tuple(parts)) if len(parts) > 1 else edit

    def _with_folded_weights(self, contrast: Contrast, edit: Edit) -> Edit:
        """With the source's weights before a normalization, which are folded there and raw in the target."""
        before = {name for item in contrast.extra for name in item.inputs}
        before |= {str(slot.actual) for slot in contrast.region.slots}
        parts = [edit]
        for name in sorted(before & self.pairing.to_source.keys()):
            match = self.pairing.to_source[name]
            layer, other = self.pairing.source[match.source], self.pairing.target[name]
            if layer.parameters and match.order is None and distance(layer, other) > 0:
                parts.append(SetParameters(name, {n: item.values for n, item in layer.parameters.items()}))
        return Together(tuple(parts))


def _is_foreign(layer: Layer) -> bool:
    """Whether its operator was imported, but cannot be computed here: only its native values tell."""
    return layer.kind not in OPERATIONS and layer.kind not in GIVEN


def _kinds(layers: tuple[Layer, ...]) -> str | None:
    return ", ".join(layer.kind for layer in layers) or None


def _evidence(contrast: Contrast, error: float) -> dict[str, object]:
    """Native names of the layers of both sides and of those round them; the error relative to the largest value."""
    pairing = contrast.pairing
    return {
        "missing": [named(layer) for layer in contrast.missing],
        "extra": [named(layer) for layer in contrast.extra],
        "read_by": [named(pairing.target[match.target]) for match in contrast.region.readers],
        "relative_error": error if np.isfinite(error) else None,
    }


def _inputs(pairing: Pairing) -> Iterator[Suspect]:
    """Placeholders that only the target has; one of another shape or name is the input analyzer's."""
    source, target = pairing.source, pairing.target
    left = [name for name in target.inputs if name not in pairing.to_source]
    for name in left if len(target.inputs) > len(source.inputs) else []:
        layer = target[name]
        yield Suspect(
            kind="graph",
            cause="extra_input",
            explanation=f"The target asks for an input '{named(layer)}' that the source has not got.",
            suggestion=CAUSES["extra_input"].repair,
            target=name,
            actual=list(layer.shape),
        )


def _flattenings(pairing: Pairing) -> Iterator[Suspect]:
    """Products whose weights go with another order of flattening than the picture comes in."""
    for match in pairing.to_target.values():
        order = flattening_order(pairing.source, pairing.target, match)
        if order is not None:
            yield _flattening(pairing.source[match.source], pairing.target[match.target], order)


def _output_order(case: Case) -> Iterator[Suspect]:
    """Outputs that are compared with those of their names or shapes, but come in another order in the file."""
    count, places = len(case.source.graph.outputs), case.target.places
    if list(places[:count]) == sorted(places[:count]):
        return
    source, target = outputs_of(case.source.graph), outputs_of(case.target.in_file)
    yield Suspect(
        kind="graph",
        cause="reordered_outputs",
        explanation=(
            f"The outputs come in another order, {_listed(target)} for {_listed(source)}; they were compared by their "
            "names and shapes, so that this causes nothing here."
        ),
        suggestion=CAUSES["reordered_outputs"].repair,
        source=case.source.graph.outputs[0],
        target=case.target.graph.outputs[0],
        attribute="outputs",
        expected=source,
        actual=target,
        edit=SetOutputs(case.target.graph.outputs),
    )


def _listed(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _flattening(layer: Layer, other: Layer, order: tuple[int, ...]) -> Suspect:
    return Suspect(
        kind="graph",
        cause="flatten_order",
        explanation=(
            f"'{named(other)}' gets the picture flattened in another order than its weights were made for: "
            f"they are laid out for axes in the order {order}."
        ),
        suggestion=CAUSES["flatten_order"].repair,
        source=layer.id,
        target=other.id,
        attribute="weights",
        expected=[0, 1, 2, 3],
        actual=list(order),
        evidence={"relative_error": distance(layer, other)},
        edit=SetParameters(other.id, {"weights": layer.parameters["weights"].values}),
    )
