"""An order is checked before any work; sizes are a share or a size."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convfault.errors import StorageError, UnknownNameError, UsageError
from convfault.repairing.order import STRATEGIES, UNITS, Order, size_limit


def test_paths_and_a_strategy_may_be_texts() -> None:
    order = Order("weights", out="mended.onnx", patch="edits.json")  # type: ignore[arg-type]
    assert (order.out, order.patch) == (Path("mended.onnx"), Path("edits.json"))
    assert order.weights


def test_everything_is_allowed_unless_told() -> None:
    assert Order().strategies == STRATEGIES
    assert Order(()).strategies == STRATEGIES
    assert Order().keep_quantized is None


def test_strategies_may_be_joined_with_commas() -> None:
    assert Order(("parameters, graph", "tool")).strategies == ("parameters", "graph", "tool")


def test_weights_means_all_values_rounded_ones_too() -> None:
    order = Order(("weights",))
    assert set(order.strategies) == {"parameters", "precision"}
    assert order.keep_quantized is False
    assert Order(("weights",), keep_quantized=True).keep_quantized is True
    assert Order(("parameters",)).keep_quantized is None


@pytest.mark.parametrize(
    "order", [Order(), Order(("weights",)), Order(("graph",), keep_quantized=True, correct="preprocessing")]
)
def test_an_order_survives_its_record(order: Order) -> None:
    again = Order.from_record(order.to_record())
    assert (again.strategies, again.keep_quantized, again.correct) == (
        order.strategies,
        order.keep_quantized,
        order.correct,
    )


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (Order(("parameter",)), "did you mean 'parameters'"),
        (Order(("weigths",)), "unknown strategy"),
        (Order(correct="modle"), "did you mean 'model'"),
        (Order(budget="small"), "--budget small"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(order: Order, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        order.check()
    Order(("parameters",), correct="model", budget="0.5").check()


def test_unknown_names_are_of_their_own_class() -> None:
    with pytest.raises(UnknownNameError):
        Order(("nothing",)).check()


def test_places_that_cannot_be_written_are_found_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    for order in (Order(out=tmp_path / "file/out.onnx"), Order(patch=tmp_path / "file/patch.json")):
        with pytest.raises(StorageError, match="cannot write"):
            order.check()
    Order(out=tmp_path / "new/out.onnx", patch=tmp_path / "new/patch.json").check()
    assert list((tmp_path / "new").iterdir()) == []


SIZES = st.floats(1.5, 1e6)
FULL = st.integers(1, 10**10)


@given(value=SIZES, unit=st.sampled_from(list(UNITS)), full=FULL, spaces=st.sampled_from(["", " "]))
def test_a_size_with_a_unit_is_that_many_bytes(value: float, unit: str, full: int, spaces: str) -> None:
    for text in (f"{value}{spaces}{unit}", f" {value}{spaces}{unit.upper()} "):
        assert size_limit(text, full) == int(value * UNITS[unit])


@given(share=st.floats(0.001, 1), full=FULL)
def test_a_number_up_to_one_is_a_share_of_the_full_size(share: float, full: int) -> None:
    found = size_limit(str(share), full)
    assert found == int(share * full)
    assert found <= full


@given(value=st.integers(2, 10**9), full=FULL)
def test_a_larger_number_is_bytes(value: int, full: int) -> None:
    assert size_limit(str(value), full) == value


@pytest.mark.parametrize("budget", ["", "MB", "-1", "0", "0MB", "nan", "inf", "1e400", "20 miles", "1,5MB", "half"])
def test_what_is_no_size_is_refused(budget: str) -> None:
    with pytest.raises(UsageError, match="is no size"):
        size_limit(budget, 100)


def test_without_a_budget_there_is_no_limit() -> None:
    assert size_limit(None, 100) is None
