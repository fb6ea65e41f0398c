"""Measures what the calibrated weights of a Keras model ship: statistics of its normalisations, pooled features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from convfault import process
from convfault.batches import Batches
from convfault.preprocessing import Preprocessing
from convfault.zoo import build_keras

BATCH = 16


def measure(description: Mapping[str, Any], batches: Mapping[str, Any], statistics: int, target: str) -> None:
    """Job: write ``statistics.npz`` (of the first pictures) and ``features.npy`` (N, F) of all into ``target``."""
    import keras
    import numpy as np
    import tensorflow as tf

    data = Batches.from_record(batches)
    prepare = Preprocessing.from_record(description["keras"]["preprocessing"])
    model = build_keras.seeded(description)
    pictures = tf.constant(prepare.tensor(data.read(0, statistics)["pictures"]))
    np.savez(f"{target}/statistics.npz", **_statistics(model, pictures))
    body = keras.Model(model.input, model.get_layer(description["keras"]["head"]).input)
    run = tf.function(lambda values: body(values, training=False), autograph=False)
    features = []
    for start in range(0, data.count, BATCH):
        features.append(run(tf.constant(prepare.tensor(data.read(start, start + BATCH)["pictures"]))).numpy())
        process.report("progress", done=min(start + BATCH, data.count))
    np.save(f"{target}/features.npy", np.concatenate(features))


def _statistics(model: Any, pictures: Any) -> dict[str, Any]:
    """Set every normalisation to the statistics of one batch, each measured behind those before it.

    Walks the graph layer by layer and forgets a tensor after its last use: running the whole model in training mode
    would hold all of them at once.
    """
    import keras
    import tensorflow as tf

    uses = Counter(id(tensor) for layer in model.layers for tensor in _inputs(layer))
    tensors = {id(model.inputs[0]): pictures}
    found: dict[str, Any] = {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        values = [tensors[id(tensor)] for tensor in _inputs(layer)]
        if isinstance(layer, keras.layers.BatchNormalization):
            mean, variance = tf.nn.moments(values[0], [0, 1, 2])
            layer.moving_mean.assign(mean)
            layer.moving_variance.assign(variance)
            found |= {f"{layer.name}/mean": mean.numpy(), f"{layer.name}/variance": variance.numpy()}
        tensors[id(layer.output)] = layer(values if len(values) > 1 else values[0], training=False)
        for tensor in _inputs(layer):
            uses[id(tensor)] -= 1
            if not uses[id(tensor)]:
                del tensors[id(tensor)]
    return found


def _inputs(layer: Any) -> list[Any]:
    import keras

    if isinstance(layer, keras.layers.InputLayer):
        return []
    return layer.input if isinstance(layer.input, list) else [layer.input]
