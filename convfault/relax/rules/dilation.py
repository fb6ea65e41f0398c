"""Dilated convolutions in one form: TensorFlow cuts the picture into blocks, moves these into the batch and back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from convfault.relax import evaluate
from convfault.relax.draft import Draft, Rule
from convfault.relax.graph import Layer

MOVES = frozenset({"reshape", "transpose"})
NO_PADDING = ((0, 0), (0, 0))


def dilate(draft: Draft, layer: Layer) -> Layer | None:
    """A convolution of a picture's blocks gives the blocks of a dilated convolution of the picture."""
    if layer["padding"] != NO_PADDING or layer["strides"] != (1, 1) or layer["dilation"] != (1, 1):
        return None
    if "weights" not in layer.parameters:
        return None
    chain = _chain(draft, layer)
    source = draft.input_of(chain[0]) if chain else None
    if source is None or source.kind == "constant" or len(source.shape) not in {3, 4}:
        return None
    picture = (source.shape[0], *(1,) * (4 - len(source.shape)), *source.shape[1:])
    blocks = _blocks(picture, chain)
    if blocks is None:
        return None
    if len(source.shape) < 4:  # a sequence is a picture of one row
        source = draft.add("reshape", (source.id,), picture, dtype=source.dtype)
    (down, across), (count, height, width, depth) = blocks, (*source.shape[:3], layer.shape[3])
    reach = [(side - 1) * block for side, block in zip(layer.parameters["weights"].values.shape, blocks, strict=False)]
    shape = (count, height - reach[0], width - reach[1], depth)
    values = {**layer.hyperparameters, "dilation": blocks}
    native = replace(layer.native, tensor=None, permutation=None)
    whole = draft.add("convolution", (source.id,), shape, values, layer.parameters, native, layer.dtype, layer.details)
    parts = (count, shape[1] // down, down, shape[2] // across, across, depth)
    split = draft.add("reshape", (whole.id,), parts, dtype=layer.dtype)
    order = (2, 4, 0, 1, 3, 5)
    turned = draft.add("transpose", (split.id,), [parts[axis] for axis in order], {"order": order}, dtype=layer.dtype)
    return Layer(
        layer.id, "reshape", (turned.id,), layer.shape, layer.dtype, native=replace(layer.native, operators=())
    )


def _chain(draft: Draft, layer: Layer) -> list[Layer]:
    """The moves before a layer, the first one first."""
    chain: list[Layer] = []
    before = draft.input_of(layer)
    while before.kind in MOVES:
        chain.insert(0, before)
        before = draft.input_of(before)
    return chain


def _moved(values: np.typing.NDArray[np.int64], chain: list[Layer]) -> np.typing.NDArray[np.int64]:
    for move in chain:
        values = values.reshape(move.shape) if move.kind == "reshape" else evaluate.evaluate(move, [values])
    return values


def _blocks(picture: tuple[int, ...], chain: list[Layer]) -> tuple[int, int] | None:
    """Height and width of the blocks whose pixels a chain deals out to pictures of their own."""
    count, height, width, depth = picture
    found = chain[-1].shape
    if len(found) != 4 or found[3] != depth or found[0] == count:
        return None
    if not found[1] or not found[2] or height % found[1] or width % found[2]:
        return None
    blocks = (height // found[1], width // found[2])
    if found[0] != count * blocks[0] * blocks[1]:
        return None
    places = np.arange(int(np.prod(picture))).reshape(picture)
    parts = places.reshape(count, found[1], blocks[0], found[2], blocks[1], depth)
    wanted = parts.transpose(2, 4, 0, 1, 3, 5).reshape(found)
    return blocks if np.array_equal(_moved(places, chain), wanted) else None


def drop_idle_moves(draft: Draft, layer: Layer) -> str | None:
    """A chain of moves, the batch's among them, after which everything is where it was."""
    chain = [*_chain(draft, layer), layer]
    if len(chain) < 3 or not any(move.shape[:1] != layer.shape[:1] for move in chain):
        return None  # chains that leave the batch alone have rules of their own
    for place in range(len(chain) - 2):
        source = draft.input_of(chain[place])
        if source.shape == layer.shape:
            places = np.arange(int(np.prod(source.shape))).reshape(source.shape)
            if np.array_equal(_moved(places, chain[place:]), places):
                return source.id
    return None


def crop_to_padding(draft: Draft, layer: Layer) -> Layer | None:
    """Cutting off edges of a convolution's result takes as much of its padding away."""
    conv = draft.input_of(layer)
    if conv.kind != "convolution" or not draft.single(conv.id) or conv["strides"] != (1, 1):
        return None
    if any(step != 1 for step in layer["strides"]) or (layer.shape[0], layer.shape[3]) != (
        conv.shape[0],
        conv.shape[3],
    ):
        return None
    padding = []
    for axis in (1, 2):
        before, after = layer["begin"][axis], conv.shape[axis] - layer["end"][axis]
        padding.append((conv["padding"][axis - 1][0] - before, conv["padding"][axis - 1][1] - after))
    if any(width < 0 for pair in padding for width in pair):
        return None
    values = {**conv.hyperparameters, "padding": tuple(padding)}
    return replace(conv, id=layer.id, shape=layer.shape, hyperparameters=values, native=layer.native.after(conv.native))


RULES = (
    Rule("dilate", frozenset({"convolution"}), dilate),
    Rule("drop_idle_moves", MOVES, drop_idle_moves),
    Rule("crop_to_padding", frozenset({"slice"}), crop_to_padding),
)
