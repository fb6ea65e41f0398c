"""Batched products and products of rows have one form, however their stacks and rows are put together."""

from __future__ import annotations

import pytest

from tests.relax.drafts import Sketch, kinds, only, simplified, values

TOKENS, HEADS, DEPTH = 6, 2, 4


def attention(flat: bool) -> Sketch:
    """Softmax of the product of all pairs of tokens, times the tokens: heads as they stand, or all stacks in a row."""
    sketch = Sketch(1, HEADS, TOKENS, DEPTH)
    stack = (HEADS,) if flat else (1, HEADS)

    def stacked(name: str) -> str:
        side = sketch.layers[name].shape[-2:]
        return sketch.layer("reshape", name, (*stack, *side)) if flat else name

    turned = sketch.layer("transpose", sketch.source, (1, HEADS, DEPTH, TOKENS), order=(0, 1, 3, 2))
    pairs = sketch.layer("matmul", (stacked(sketch.source), stacked(turned)), (*stack, TOKENS, TOKENS))
    shares = sketch.layer("softmax", pairs, (*stack, TOKENS, TOKENS), axis=len(stack) + 1)
    mixed = sketch.layer("matmul", (shares, stacked(sketch.source)), (*stack, TOKENS, DEPTH))
    back = sketch.layer("reshape", mixed, (1, HEADS, TOKENS, DEPTH)) if flat else mixed
    sketch.outputs = [sketch.layer("tanh", back, (1, HEADS, TOKENS, DEPTH))]
    return sketch


@pytest.mark.parametrize("flat", [True, False])
def test_matrices_in_one_row_of_stacks_are_multiplied_as_they_stood(flat: bool) -> None:
    sketch = attention(flat)
    graph = simplified(sketch.ending(*sketch.outputs))
    assert kinds(graph) == ["transpose", "matmul", "softmax", "matmul", "tanh"]
    assert only(graph, "softmax")["axis"] == 3


def test_matrices_of_other_rows_are_not() -> None:
    sketch = Sketch(1, HEADS, TOKENS, DEPTH)
    wide = sketch.layer("reshape", sketch.source, (1, TOKENS, HEADS * DEPTH))
    tall = sketch.layer("reshape", sketch.source, (1, HEADS * DEPTH, TOKENS))
    product = sketch.layer("matmul", (wide, tall), (1, TOKENS, TOKENS))
    assert kinds(simplified(sketch.ending(product))).count("reshape") == 2


def rows(sketch: Sketch, source: str, apart: bool) -> str:
    """A product of every token's two heads joined, the tokens of all pictures under each other or apart."""
    joined = (1, TOKENS, HEADS * DEPTH) if apart else (TOKENS, HEADS * DEPTH)
    flat = sketch.layer("reshape", source, joined)
    product = sketch.layer("matmul", (flat, sketch.constant(values(HEADS * DEPTH, 3))), (*joined[:-1], 3))
    return product if apart else sketch.layer("reshape", product, (1, TOKENS, 3))


@pytest.mark.parametrize("apart", [True, False])
def test_a_product_of_rows_under_each_other_is_that_of_the_rows_as_they_are_wanted(apart: bool) -> None:
    sketch = Sketch(1, TOKENS, HEADS, DEPTH)
    product = rows(sketch, sketch.source, apart)
    graph = simplified(sketch.ending(sketch.layer("tanh", product, (1, TOKENS, 3))))
    assert kinds(graph) == ["reshape", "dense", "tanh"]
    assert only(graph, "dense").shape == (1, TOKENS, 3)


def test_rows_that_are_no_part_of_what_they_are_made_of_stay() -> None:
    sketch = Sketch(1, 4, 9)
    flat = sketch.layer("reshape", sketch.source, (6, 6))
    product = sketch.layer("matmul", (flat, sketch.constant(values(6, 3))), (6, 3))
    assert only(simplified(sketch.ending(product)), "dense").shape == (6, 3)
