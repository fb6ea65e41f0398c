"""The variables of a SavedModel: their keys in its checkpoint, and a checkpoint with other numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from convfault.relax.graph import Array
from convfault.repairing.writers.change import Refusal

GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
VALUE = "VARIABLE_VALUE"


def keys(folder: Path, saved: Any, numbers: list[int]) -> dict[int, tuple[str, ...]]:
    """Number of a saved object → the keys of the variable that it is, its own first.

    Keras tracks its variables twice: the other keys hold copies, known by the same name and the same numbers.
    """
    import tensorflow as tf
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    tracked = trackable_object_graph_pb2.TrackableObjectGraph()
    tracked.ParseFromString(reader.get_tensor(GRAPH_KEY))
    found = {}
    for number, path in _paths(saved, set(numbers)).items():
        place = 0
        for name in path:
            place = next(child.node_id for child in tracked.nodes[place].children if child.local_name == name)
        own = next(item for item in tracked.nodes[place].attributes if item.name == VALUE)
        same = [
            item.checkpoint_key
            for node in tracked.nodes
            for item in node.attributes
            if item.name == VALUE and item.full_name == own.full_name and item.checkpoint_key != own.checkpoint_key
        ]
        values = reader.get_tensor(own.checkpoint_key)
        copies = [key for key in same if _equal(reader.get_tensor(key), values)]
        found[number] = (own.checkpoint_key, *copies)
    return found


def by_name(folder: Path, values: Mapping[str, Array]) -> dict[str, Array]:
    """The same numbers, for a checkpoint of TensorFlow 1, whose keys are the variables' names."""
    import tensorflow as tf

    known = tf.train.load_checkpoint(str(folder / "variables" / "variables")).get_variable_to_shape_map()
    missing = [name for name in values if name not in known]
    if missing:
        raise Refusal(f"the checkpoint has no variable '{missing[0]}'")
    return dict(values)


def _equal(a: Array, b: Array) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def _paths(saved: Any, wanted: set[int]) -> dict[int, tuple[str, ...]]:
    """Number of a saved object → the names that lead to it from the root."""
    found: dict[int, tuple[str, ...]] = {0: ()}
    waiting = [0]
    while waiting:
        place = waiting.pop(0)
        for child in saved.nodes[place].children:
            if child.node_id not in found:
                found[child.node_id] = (*found[place], child.local_name)
                waiting.append(child.node_id)
    return {number: path for number, path in found.items() if number in wanted}


def write(folder: Path, out: Path, changed: Mapping[str, Array]) -> None:
    """Write the checkpoint of a SavedModel ``folder`` into another one's, with other numbers under some keys."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    types = reader.get_variable_to_dtype_map()
    names = sorted(types)
    tensors = [
        tf.constant(np.asarray(changed[name]) if name in changed else reader.get_tensor(name), types[name])
        for name in names
    ]
    for old in (out / "variables").glob("variables.*"):
        old.unlink()
    tf.raw_ops.SaveV2(
        prefix=str(out / "variables" / "variables"),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=tensors,
    )
