"""The fewest layers are restored that make the labels right, within the budget, and held-out pictures stay unseen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from convfault.comparison import AGREE, DIFFER, Comparison
from convfault.errors import UsageError
from convfault.repairing.order import LABELS, Order
from convfault.restoring.labels import PROOFS, Point, Sparing
from convfault.restoring.proof import held_out
from tests.relax import quantized
from tests.repairing.views import view
from tests.restoring.conftest import Repair
from tests.restoring.rounded import PICTURES, Rounded

LAYERS = 12
FULL = 1000


class Tried(Sparing):
    """Trials whose files are numbers: picture ``row`` is right from ``needs[row]`` restored layers on."""

    def __init__(self, needs: list[int], looked_at: list[int], count: int = LAYERS) -> None:
        self.needs, self.count = needs, count
        self.found = SimpleNamespace(comparison=Comparison(DIFFER, len(needs)))  # type: ignore[assignment]
        self.rows = tuple(sorted(set(looked_at) - held_out(len(needs))))
        self.points, self.wrong = {}, {}
        self.written = {number: (Path(), ()) for number in range(count + 1)}
        self.seen = set(self.rows)
        self.proven: list[int] = []

    def _flips(self, restored: int) -> int:
        self.seen |= set(self.rows)
        self._keep(restored, 0, 0.0)
        return sum(self.needs[row] > restored for row in self.rows)

    def _prove(self, restored: int) -> Any:
        self.proven.append(restored)
        wrong = tuple(row for row, need in enumerate(self.needs) if need > restored)
        comparison = Comparison(AGREE if not wrong else DIFFER, len(self.needs), len(wrong) / len(self.needs))
        reached: Callable[[str], bool] = lambda goal: comparison.verdict == AGREE  # noqa: E731
        self._keep(restored, len(wrong), 0.0)
        return SimpleNamespace(reached=reached, flipped=lambda: wrong, found=SimpleNamespace(comparison=comparison))

    def _size(self, restored: int) -> int:
        return 400 + (FULL - 400) * restored // self.count


NEEDS = st.lists(st.integers(0, LAYERS), min_size=10, max_size=40)


@given(needs=NEEDS, looked=st.sets(st.integers(0, 39)))
def test_the_labels_become_right_with_as_few_layers_as_are_needed(needs: list[int], looked: set[int]) -> None:
    trials = Tried(needs, [row for row in looked if row < len(needs)])
    found = trials.run("name", Order())
    assert found.proof.reached(LABELS)
    if len(trials.proven) <= PROOFS:
        assert found.restored <= max(max(needs), trials.proven[-2] + 1 if len(trials.proven) > 1 else 0)
    assert found.restored >= max(needs)


@given(needs=NEEDS)
def test_all_pictures_in_doubt_give_the_smallest_number(needs: list[int]) -> None:
    aside = held_out(len(needs))
    seen = [need for row, need in enumerate(needs) if row not in aside]
    assume(max(needs) == max(seen))
    found = Tried(needs, list(range(len(needs)))).run("name", Order())
    assert found.restored == max(needs)
    assert not found.peeked


@given(needs=NEEDS, looked=st.sets(st.integers(0, 39)))
def test_held_out_pictures_decide_nothing_or_it_is_said(needs: list[int], looked: set[int]) -> None:
    trials = Tried(needs, [row for row in looked if row < len(needs)])
    found = trials.run("name", Order())
    assert found.peeked or not trials.seen & held_out(len(needs))


def test_a_held_out_picture_that_alone_is_wrong_is_looked_at_in_the_end() -> None:
    needs = [3] * 10
    needs[4] = 7
    found = Tried(needs, list(range(10))).run("name", Order())
    assert (found.restored, found.peeked) == (7, True)


@given(needs=NEEDS, share=st.floats(0.41, 1))
def test_the_budget_is_kept(needs: list[int], share: float) -> None:
    trials = Tried(needs, list(range(len(needs))))
    found = trials.run("name", Order(budget=str(share)))
    assert trials._size(found.restored) <= share * FULL
    affordable = max(n for n in range(LAYERS + 1) if trials._size(n) <= int(share * FULL))
    assert found.proof.reached(LABELS) == (max(needs) <= affordable)


def test_a_budget_below_the_target_itself_is_refused() -> None:
    with pytest.raises(UsageError, match="it allows 100 bytes, and the target has 400 with no layer restored"):
        Tried([5] * 10, [0, 1]).run("name", Order(budget="0.1"))


def test_a_budget_of_the_targets_own_size_restores_nothing() -> None:
    assert Tried([5] * 10, [0, 1]).run("name", Order(budget="0.4")).restored == 0


def test_the_curve_ends_with_everything_restored() -> None:
    found = Tried([2] * 10, [0]).run("name", Order())
    assert [point.restored for point in found.curve] == sorted({point.restored for point in found.curve})
    assert found.curve[-1].restored == LAYERS
    assert Point(2, 500, 0.0, 0.0) in found.curve


# on files


def test_a_quantized_target_stays_quantized_and_gets_its_labels_right(
    repair: Repair, rounded: Rounded, result: Path
) -> None:
    report = repair(rounded.source, rounded.target, data=str(rounded.data))
    assert report.exit_code == 0, report.repairs
    repaired = report.repaired
    assert repaired is not None
    assert (repaired["goal"], repaired["held_out"]["images"]) == (LABELS, PICTURES // 5)
    assert (report.comparison.top1_disagreement or 0) > 0
    assert repaired["comparison"]["top1_disagreement"] == 0
    kept = encoded(result / "mended.tflite")
    assert 0 < len(kept) < len(encoded(rounded.target))
    assert repaired["size_bytes_before"] < repaired["size_bytes"] < repaired["curve"][-1]["size_bytes"]
    assert [point["restored"] for point in repaired["curve"] if point["chosen"]] == [1]
    assert {item["strategy"] for item in report.repairs if item["accepted"]} == {"precision"}
    told = [item for item in report.repairs if item["edit"].startswith("let the bias make up for the rounded weights")]
    assert told
    assert all(item["accepted"] for item in told)


def test_operators_on_integers_stay_what_they_are_where_their_labels_are_right(
    repair: Repair, tmp_path: Path, result: Path
) -> None:
    target = quantized.quantized_file(tmp_path, "dynamic")
    images = np.concatenate([quantized.pictures(seed) for seed in range(4)])
    np.savez(tmp_path / "data.npz", images=images)
    report = repair(tmp_path / "float.onnx", target, data=str(tmp_path / "data.npz"))
    assert report.comparison.verdict == DIFFER
    assert report.comparison.top1_disagreement == 0
    assert report.exit_code == 0, report.repairs
    assert not any(item["accepted"] for item in report.repairs)
    assert (result / "mended.onnx").stat().st_size == target.stat().st_size


def test_the_strategy_weights_restores_every_layer(repair: Repair, rounded: Rounded, result: Path) -> None:
    report = repair(rounded.source, rounded.target, data=str(rounded.data), strategies=("weights",))
    assert report.exit_code == 0, report.repairs
    assert report.repaired is not None
    assert (report.repaired["goal"], report.repaired["comparison"]["verdict"]) == ("agree", "agree")
    assert encoded(rounded.target)
    assert not encoded(result / "mended.tflite")


@pytest.mark.parametrize("budget", ["1KB", "0.01"])
def test_a_budget_that_nothing_keeps_is_refused(budget: str, repair: Repair, rounded: Rounded, result: Path) -> None:
    with pytest.raises(UsageError, match=f"--budget {budget} cannot be kept: it allows .* bytes, and the target has "):
        repair(rounded.source, rounded.target, data=str(rounded.data), budget=budget)
    assert not result.exists()


def test_a_budget_under_which_labels_still_differ_is_said(repair: Repair, rounded: Rounded) -> None:
    budget = str(rounded.target.stat().st_size + 200)
    order = {"budget": budget, "strategies": ("precision",)}
    report = repair(rounded.source, rounded.target, data=str(rounded.data), **order)
    assert report.exit_code == 1
    assert f"--budget {budget} allows to restore 0 of " in report.notes[0]


def test_a_target_that_is_larger_than_the_budget_once_it_is_mended_is_not_written(
    repair: Repair, faulty: Callable[..., Path], tiny_onnx: Path, result: Path
) -> None:
    target = faulty("onnx", "activation_missing")
    report = repair(tiny_onnx, target, budget=str(target.stat().st_size + 1))
    assert (report.exit_code, report.repaired) == (1, None)
    assert "bytes, and --budget" in report.notes[-1]
    assert {item["accepted"] for item in report.repairs} == {False}
    assert not result.exists()


def test_a_budget_and_no_quantization_contradict_each_other(repair: Repair, rounded: Rounded) -> None:
    with pytest.raises(UsageError, match="for a target that stays quantized"):
        repair(rounded.source, rounded.target, data=str(rounded.data), budget="0.5", strategies=("weights",))


def encoded(path: Path) -> list[str]:
    """The constants that are stored in eight bits."""
    encodings = view(path).graph.encodings
    return [name for name, encoding in encodings.items() if encoding.constant and encoding.dtype == "int8"]
