"""A ``.keras`` or ``.h5`` file: its configuration and the network that it holds, and how both are written again.

The configuration is edited as it is stored; weights are written by Keras itself, as it orders them by a walk over the
layers. What else is in the file (metadata, the optimizer's state, training settings) is carried over.
"""

from __future__ import annotations

import io
import json
import re
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convfault import cache
from convfault.errors import FormatError
from convfault.model import Model
from convfault.native import keras_2, keras_files
from convfault.relax.graph import Array
from convfault.repairing.writers.change import EditRefusedError

WEIGHTS = "model.weights.h5"
Weights = list[tuple[str, Array]]
"""Name and values of each variable of a layer, in its own order."""


class KerasFile:
    """``network`` is what the file holds, loaded as the framework's adapter does; ``config`` its stored configuration,
    weights in it as arrays.

    Raises what ``keras_files.load`` raises, and ``FormatError`` where the weights are stored in a way that cannot be
    written.
    """

    def __init__(self, model: Model) -> None:
        self.model, self.path = model, Path(model.path)
        self.network = keras_files.load(model)
        self.library = keras_files.package(model)
        self.old = keras_files.is_keras_2(self.library)
        """Whether it is a file of Keras 2."""
        self.zipped = zipfile.is_zipfile(self.path)
        self.config = self._read()

    def _read(self) -> dict[str, Any]:
        if self.zipped:
            with zipfile.ZipFile(self.path) as archive:
                if WEIGHTS not in archive.namelist():
                    raise FormatError(f"{self.path} holds no {WEIGHTS}: save it again with model.save()")
                found = json.loads(archive.read("config.json"))
        else:
            import h5py

            with h5py.File(self.path, "r") as file:
                found = json.loads(file.attrs["model_config"])
        return _copied(found, self._constants(), self.old)  # type: ignore[no-any-return]

    def _constants(self) -> keras_2.Constants:
        return keras_2.Constants(lambda values, index: values)

    def rebuilt(self, weights: Mapping[tuple[str, ...], Weights]) -> Any:
        """A network made of the configuration as it is now, with these weights for the layer at each path of names.

        Raises ``EditRefusedError`` where Keras cannot make it.
        """
        try:
            network = self._made(_copied(self.config, self._constants(), self.old))
            for path, values in weights.items():
                _assign(_at(network, path), values)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise EditRefusedError("the model", f"Keras cannot build it ({reason(error)})") from error
        return network

    def _made(self, config: dict[str, Any]) -> Any:
        saving = self.library.saving
        if not self.zipped:
            kind = self.library.Sequential if config["class_name"] == "Sequential" else self.library.Model
            return kind.from_config(config["config"])
        config["compile_config"] = None
        return saving.deserialize_keras_object(config, safe_mode=not self.model.trusted)

    def save(self, path: Path, weights: Mapping[tuple[str, ...], Weights]) -> None:
        """Write the file with the configuration as it is now."""
        network = self.rebuilt(weights)
        with tempfile.TemporaryDirectory() as name:
            content = self._archive(network, Path(name)) if self.zipped else self._hierarchy(network, Path(name))
        cache.write_aside(path, content)

    def _stored(self) -> bytes:
        return json.dumps(self.config, default=lambda values: values.tolist()).encode()

    def _archive(self, network: Any, folder: Path) -> bytes:
        network.save_weights(folder / WEIGHTS)
        held = io.BytesIO()
        with zipfile.ZipFile(self.path) as before, zipfile.ZipFile(held, "w") as after:
            (folder / "before.h5").write_bytes(before.read(WEIGHTS))
            _keep_others(folder / "before.h5", folder / WEIGHTS)
            changed = {"config.json": self._stored(), WEIGHTS: (folder / WEIGHTS).read_bytes()}
            for item in before.infolist():
                after.writestr(item, changed.get(item.filename) or before.read(item.filename))
        return held.getvalue()

    def _hierarchy(self, network: Any, folder: Path) -> bytes:
        import h5py

        network.save(folder / "weights.h5", include_optimizer=False)
        (folder / "model.h5").write_bytes(self.path.read_bytes())
        with h5py.File(folder / "model.h5", "r+") as file, h5py.File(folder / "weights.h5", "r") as made:
            file.attrs["model_config"] = self._stored()
            settings = dict(file["model_weights"].attrs)
            del file["model_weights"]
            made.copy("model_weights", file)
            for name in ("backend", "keras_version"):
                if name in settings:
                    file["model_weights"].attrs[name] = settings[name]
        return (folder / "model.h5").read_bytes()


def reason(error: BaseException) -> str:
    """What Keras says, without the frame that it puts round it."""
    frame = ("Exception encountered", "Arguments received", "•")
    lines = [line.strip() for line in re.sub(r"\x1b\[\d+m", "", str(error)).splitlines()]
    told = [line for line in lines if line and not line.startswith(frame)]
    return told[0][:300] if told else type(error).__name__


def variables(layer: Any) -> Weights:
    """Names and values of a layer's variables; an operation has none."""
    return [(short(variable), variable.numpy()) for variable in getattr(layer, "variables", ())]


def short(variable: Any) -> str:
    """``kernel``, whatever layer and number Keras 2 puts round it."""
    return str(variable.name).rsplit("/", 1)[-1].partition(":")[0]


def _copied(value: Any, constants: keras_2.Constants, old: bool) -> Any:
    """A configuration to be taken apart; weights that lie in it, as Keras 2 may have them, as arrays."""
    if isinstance(value, list):
        return [_copied(part, constants, old) for part in value]
    if not isinstance(value, dict):
        return value
    return {
        name: constants.as_arrays(part) if old and name == "inbound_nodes" else _copied(part, constants, old)
        for name, part in value.items()
    }


def _at(network: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        network = next(layer for layer in network.layers if layer.name == name)
    return network


def _assign(layer: Any, weights: Weights) -> None:
    """Give a layer's variables their values: by name, or in order where names come twice."""
    found = list(layer.variables)
    names = [short(variable) for variable in found]
    known = dict(weights)
    by_name = len(known) == len(weights) and set(names) == set(known) and len(names) == len(known)
    if len(found) != len(weights):
        raise ValueError(f"layer {layer.name} has the weights {', '.join(names)}, not {', '.join(known)}")
    for position, variable in enumerate(found):
        variable.assign(known[names[position]] if by_name else weights[position][1])


def _keep_others(before: Path, after: Path) -> None:
    """Copy what the old file holds beside the network's own variables: the optimizer's."""
    import h5py

    with h5py.File(before, "r") as old, h5py.File(after, "r+") as new:
        for name in old:
            if name not in new and name not in {"layers", "_layer_checkpoint_dependencies"}:
                old.copy(name, new)
