"""Small networks with repeated blocks, each layer with weights of its own."""

from __future__ import annotations

import numpy as np

from convfault.relax.graph import Graph, Parameter
from tests.relax.drafts import Sketch


def residual_network(blocks: int = 7, channels: int = 8) -> Graph:
    """A ResNet in small: stages of equal bottlenecks, the activation behind each sum."""
    sketch = Sketch(1, 12, 12, 3)
    last = _unit(sketch, sketch.source, channels, 3)
    for width in (channels, 2 * channels):
        last = _bottleneck(sketch, last, width, sketch.layers[last].shape[-1] != width)
        for _ in range(blocks):
            last = _bottleneck(sketch, last, width, False)
    return sketch.ending(_head(sketch, last))


def inception_network(blocks: int = 5) -> Graph:
    """An Inception network in small: branches of equal and of different form, joined by concat."""
    sketch = Sketch(1, 10, 10, 3)
    last = _unit(sketch, sketch.source, 8, 3)
    for _ in range(blocks):
        shape = sketch.layers[last].shape
        window = {"size": (3, 3), "strides": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1)}
        pooled = sketch.layer("average_pool", last, shape, count_padding=False, **window)
        wide = _unit(sketch, _unit(sketch, last, 4, 1), 4, 3)
        deep = _unit(sketch, _unit(sketch, _unit(sketch, last, 4, 1), 4, 3), 4, 3)
        branches = (_unit(sketch, last, 4, 1), wide, deep, _unit(sketch, pooled, 4, 1))
        last = sketch.layer("concat", branches, (*shape[:3], 16), axis=3)
    return sketch.ending(_head(sketch, last))


def _unit(sketch: Sketch, source: str, filters: int, size: int, active: bool = True) -> str:
    border = ((size // 2, size // 2),) * 2
    made = sketch.convolution(source, filters, size, padding=border)
    return sketch.layer("clip", made, sketch.layers[made].shape, minimum=0.0, maximum=np.inf) if active else made


def _bottleneck(sketch: Sketch, source: str, width: int, projected: bool) -> str:
    inner = _unit(sketch, _unit(sketch, source, width // 2, 1), width // 2, 3)
    outer = _unit(sketch, inner, width, 1, active=False)
    other = _unit(sketch, source, width, 1, active=False) if projected else source
    joined = sketch.layer("add", (outer, other), sketch.layers[outer].shape)
    return sketch.layer("clip", joined, sketch.layers[joined].shape, minimum=0.0, maximum=np.inf)


def _head(sketch: Sketch, source: str) -> str:
    channels = sketch.layers[source].shape[-1]
    mean = sketch.layer("mean", source, (1, channels), axes=(1, 2), keepdims=False)
    weights = np.random.default_rng(8).standard_normal((channels, 10)).astype(np.float32)
    parts = {"weights": Parameter(weights), "bias": Parameter(weights[0])}
    dense = sketch.add("dense", (mean,), (1, 10), {}, parts).id
    return sketch.layer("softmax", dense, (1, 10), axis=1)
