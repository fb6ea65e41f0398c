"""Takes a functional Keras model apart. Runs where a converter runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from convfault.localization.tool.reduction import Piece, Places
from convfault.model import Model


class Cutter:
    """The layers of a functional or sequential model; only neighbours can be kept, from a first one to a last one."""

    def __init__(self, model: Model) -> None:
        from convfault.converters.keras_source import load

        self.source = model
        network = load(model)
        self.layers = [layer for layer in network.layers if type(layer).__name__ != "InputLayer"]
        self.nodes = [(type(layer).__name__, layer.name) for layer in self.layers]
        self.tensors = [(layer.name,) for layer in self.layers]
        maker = {id(tensor): index for index, layer in enumerate(self.layers) for tensor in _tensors(layer.output)}
        self.reads = [
            tuple(maker[id(tensor)] for tensor in _tensors(layer.input) if id(tensor) in maker) for layer in self.layers
        ]

    def write(self, kept: Places, folder: Path) -> Piece | None:
        """``reduction.Cut.write``."""
        import keras

        held = tuple(range(kept[0], kept[-1] + 1))
        if held != kept:
            return None
        inside = [self.layers[index] for index in held]
        made = {id(tensor) for layer in inside for tensor in _tensors(layer.output)}
        entries = {id(t): t for layer in inside for t in _tensors(layer.input) if id(t) not in made}
        used = {id(tensor) for layer in inside for tensor in _tensors(layer.input)}
        ends = [t for layer in inside for t in _tensors(layer.output) if id(t) not in used]
        origins = tuple(_origin(tensor) for tensor in entries.values())
        if len(inside) == 1:  # alone it can be applied again, which leaves out all that the rest of the model does
            entries, ends = _applied(inside[0])
        network = keras.Model(list(entries.values()), ends if len(ends) > 1 else ends[0])
        path = folder / "smallest.keras"
        network.save(path)
        return Piece(replace(self.source, path=str(path), format="keras", signature=None), held, origins)


def _applied(layer: Any) -> tuple[dict[int, Any], list[Any]]:
    import keras

    given = _tensors(layer.input)
    fresh = [keras.Input(tensor.shape[1:], dtype=tensor.dtype) for tensor in given]
    answer = layer(fresh if isinstance(layer.input, list | tuple) else fresh[0])
    return {id(tensor): tensor for tensor in fresh}, _tensors(answer)


def _origin(tensor: Any) -> str:
    """The layer that gives a tensor, by whose name its values are known."""
    from convfault.native.keras_files import layer_of

    return str(layer_of(tensor).name)


def _tensors(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
