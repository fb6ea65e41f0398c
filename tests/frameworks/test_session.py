"""A session runs any number of pictures, also of a model that holds the batch that it was exported with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pytest

from convfault.frameworks.base import Session
from convfault.model import Signature, TensorSpec
from convfault.trace import Trace

if TYPE_CHECKING:
    from convfault.frameworks.base import Tensors

PICTURES = {"x": np.arange(12, dtype=np.float32).reshape(4, 3)}


class Doubling(Session):
    """Answers with twice its input; ``largest`` is the largest batch that it takes or, ``mixing``, keeps apart."""

    def __init__(self, largest: int = 100, mixing: bool = False) -> None:
        self.signature = Signature((TensorSpec("x", (None, 3), "float32"),), (TensorSpec("y", (None, 3), "float32"),))
        self.largest, self.mixing = largest, mixing
        self.runs: list[int] = []

    def run_batch(self, inputs: Tensors, capture: Sequence[str] = ()) -> Trace:
        values = inputs["x"] * 2
        self.runs.append(len(values))
        if len(values) > self.largest and not self.mixing:
            raise RuntimeError("a reshape holds the batch")
        answer = values.reshape(1, -1) if len(values) > self.largest else values
        return Trace({"y": answer}, ("y",), "fake", "1", "NHWC")


@pytest.mark.parametrize("mixing", [False, True])
def test_a_model_that_holds_a_batch_of_one_runs_one_by_one_and_says_so(mixing: bool) -> None:
    session = Doubling(1, mixing)
    for _ in range(2):
        np.testing.assert_array_equal(session.run(PICTURES).tensors["y"], PICTURES["x"] * 2)
    assert session.signature.inputs[0].shape == (1, 3)
    assert session.runs == [4, 1, 1, 1, 1, 1, 1, 1, 1]  # the whole batch is tried once


def test_a_model_that_takes_any_batch_gets_it() -> None:
    session = Doubling()
    session.run(PICTURES)
    assert session.runs == [4]
    assert session.signature.inputs[0].shape == (None, 3)


def test_a_model_that_fails_alone_as_well_fails_with_its_first_error() -> None:
    with pytest.raises(RuntimeError, match="holds the batch"):
        Doubling(0).run(PICTURES)
