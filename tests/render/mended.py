"""Reports of ``repair`` as it makes them, for the tests of what shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from convfault.comparison import Comparison
from convfault.report import Report
from tests import samples

LAYERS = 94
ROUNDED = "the answers agree without it"


def whole() -> Report:
    """A quantized target whose weights were all restored, in two rounds; the answers agree."""
    edits = [_restored(number, accepted=True) for number in range(LAYERS)]
    edits.append(
        samples.edit("restore padding of conv_5", fault_id="f2", strategy="hyperparameters", round=2)
        | {"accepted": False, "reason": "its edit does not fit the target", "max_abs_error_left": None}
    )
    changes = [_change(number) for number in range(LAYERS)]
    changes.append({"place": "pool_2", "attribute": "padding", "before": "[0, 1, 0, 1]", "after": "[1, 0, 1, 0]"})
    changes.append({"place": "block_1/relu", "attribute": "operator", "before": "", "after": "RELU"})
    return _repair(edits, samples.mended(samples.agreeing().comparison, changes=changes))


def labels() -> Report:
    """A target that stays quantized: nine layers restored, no label differs, values still do."""
    edits = [_restored(number, accepted=number < 9, strategy="precision") for number in range(LAYERS)]
    edits = [{**edit, "size_bytes": 4_000 * (1 + number)} for number, edit in enumerate(edits)]
    return _repair(edits, _quantized(0.0, reached=True))


def improved() -> Report:
    """The negative twin of ``labels``: three labels still differ, and more on the pictures held out."""
    return _repair([_restored(0, accepted=True)], _quantized(3 / 320, reached=False))


def unproven() -> Report:
    """All labels are mended but one of those that the repair did not look at."""
    held_out = {"images": 64, "top1_disagreement": 1 / 64, "max_abs_error": 0.024, "reached": False}
    return with_repaired(labels(), held_out=held_out)


def failed() -> Report:
    """The negative twin of ``whole``: no edit helps, nothing was written."""
    reasons = (ROUNDED, ROUNDED, "no edit of the graph undoes it")
    return _repair([{**_restored(n, accepted=False), "reason": reason} for n, reason in enumerate(reasons)], None)


def worse() -> Report:
    """A file that was written and does not run."""
    found = samples.mended(Comparison.crash("the target cannot be read", "load"), reached=False, held_out=None)
    return _repair([_restored(0, accepted=True)], found)


def needless() -> Report:
    """Models that agree: the target was copied."""
    notes = ["the target agrees already; it was copied as it is"]
    found = samples.mended(samples.agreeing().comparison, changes=[], patch=None, notes=notes, held_out=None)
    return replace(samples.agreeing(), command="repair", repaired={**found, "size_bytes_before": 95_260_884})


def rerouted() -> Report:
    """A conversion that crashed, done by another tool."""
    edit = samples.edit("convert by tf>onnx:tf2onnx>torch:onnx2pytorch", fault_id=None, strategy="tool")
    found = samples.mended(samples.agreeing().comparison, size_bytes_before=None, changes=[], patch=None)
    return replace(samples.crashing(), command="repair", repairs=(edit,), repaired=found)


def hostile() -> Report:
    """Every text that comes from a model, as an attacker would choose it."""
    report, bad = whole(), samples.NASTY
    edits = tuple({**edit, "edit": bad, "reason": bad, "strategy": bad, "fault_id": bad} for edit in report.repairs)
    changes = [{"place": bad, "attribute": bad, "before": bad, "after": bad}] * 2
    repaired = {**(report.repaired or {}), "path": bad, "patch": bad, "notes": [bad], "changes": changes, "format": bad}
    return replace(report, repairs=edits, repaired=repaired)


ALL = (whole, labels, improved, unproven, failed, worse, needless, rerouted, hostile)


def with_repaired(report: Report, **more: Any) -> Report:
    """The report with other values of the file that was written."""
    return replace(report, repaired={**(report.repaired or {}), **more})


def point(restored: int, size: int, rate: float | None, error: float | None, chosen: bool = False) -> dict[str, Any]:
    """A file on the way to the one that was chosen."""
    figures = {"top1_disagreement": rate, "max_abs_error": error}
    return {"restored": restored, "size_bytes": size, **figures, "chosen": chosen}


def curve() -> list[dict[str, Any]]:
    """Sizes and disagreement of a quantized target, the more layers are restored."""
    rates = {0: 43, 2: 29, 3: 24, 5: 11, 6: 7, 9: 0, 12: 1, 24: 0, 47: 0}
    found = [
        point(many, 24_110_020 + 900_000 * many, flips / 320, 0.213 / (1 + many), many == 9)
        for many, flips in rates.items()
    ]
    return [*found, point(LAYERS, 95_260_884, 0.0, 2.1e-7)]


def _quantized(rate: float, reached: bool) -> Mapping[str, Any]:
    left = replace(samples.differing().comparison, top1_disagreement=rate, max_abs_error=0.021)
    left = replace(left, accuracy={"source": 0.934375, "target": 0.934375 - rate})
    held_out = {"images": 64, "top1_disagreement": 2 * rate, "max_abs_error": 0.024, "reached": reached}
    return samples.mended(
        left,
        size_bytes=24_110_020 + 8_100_000,
        goal="labels",
        reached=reached,
        held_out=held_out,
        changes=[_change(number) for number in range(9)],
        curve=curve(),
        notes=["The activations stay in 8 bits."],
    )


def _repair(edits: list[dict[str, Any]], repaired: Mapping[str, Any] | None) -> Report:
    faults = (replace(samples.fault(), id="f1"), replace(samples.fault(), id="f2", rank=2, cause="other_padding"))
    line = "convfault repair --src tf --dst tflite --model inceptionv3 --patch repaired.patch.json"
    report = replace(samples.differing(), command="repair", command_line=line, faults=faults)
    return replace(report, repairs=tuple(edits), repaired=repaired)


def _restored(number: int, accepted: bool, strategy: str = "parameters") -> dict[str, Any]:
    reason = "without it the answers differ by more than the tolerance" if accepted else ROUNDED
    words = f"restore weights of inception_v3/conv2d_{number}/Conv2D"
    return samples.edit(words, fault_id=f"F{number + 1}", strategy=strategy, accepted=accepted, reason=reason)


def _change(number: int) -> dict[str, Any]:
    place = f"inception_v3/conv2d_{number}/Conv2D"
    return {"place": place, "attribute": "weights", "before": "int8, by channel", "after": "float32"}
