"""Which operations and tensors of TensorFlow each layer of a Keras network makes, seen by tracing it."""

from __future__ import annotations

from typing import Any

from convfault.native.keras_files import layer_of
from convfault.repairing.writers.keras.call import Run, watching

NOTHING = Run("", (), (), ())


class Trace:
    """One pass of pictures through a network as the importer of Keras makes it, so that all names are the same.

    ``inputs`` are the network's with their shapes, ``outputs`` the names of the layers that give them; ``first`` names
    each TensorFlow tensor by the first layer that returned it.
    """

    def __init__(self, network: Any, batch: int) -> None:
        import tensorflow as tf

        specs = [tf.TensorSpec((batch, *tensor.shape[1:]), tensor.dtype, name=tensor.name) for tensor in network.inputs]
        self.inputs = {spec.name: tuple(spec.shape) for spec in specs}
        self.outputs = [str(layer_of(tensor).name) for tensor in network.outputs]
        self.first: dict[str, str] = {}

        def run(*tensors: Any) -> Any:
            self.first.update({str(tensor.name): spec.name for tensor, spec in zip(tensors, specs, strict=True)})
            return tf.nest.flatten(network(tensors[0] if len(tensors) == 1 else list(tensors), training=False))

        with watching(network) as self._runs:
            tf.function(run, autograph=False).get_concrete_function(*specs)
        self._layers = _by_place(run for runs in self._runs.values() for run in runs)

    def of(self, layer: Any) -> Run:
        """The next run of a layer, in order."""
        runs = self._runs.get(id(layer))
        return runs.pop(0) if runs else NOTHING

    def named(self, tensor: str) -> str | None:
        """A tensor by the name that the importer gives it: a layer's, an input's or TensorFlow's own."""
        if tensor in self.inputs:
            return tensor
        return self.first.get(self._layers.get(tensor, tensor))


def _by_place(runs: Any) -> dict[str, str]:
    """What the importer calls a layer's tensors → TensorFlow's name; see ``keras_layers.recording``."""
    found: dict[str, str] = {}
    counts: dict[str, int] = {}
    for run in runs:
        for index, tensor in enumerate(run.tensors):
            name = f"{run.place}:{index}" if index else run.place
            again = counts.get(name, 0)
            found[f"{name}@{again}" if again else name] = tensor
            counts[name] = again + 1
    return found
