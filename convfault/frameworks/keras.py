"""Keras 3 on its TensorFlow backend: ``.keras`` and legacy ``.h5`` files."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from convfault.errors import FormatError, TrustError
from convfault.frameworks.base import Framework, Perturbation, Session, reading
from convfault.frameworks.tensorflow import configure_threads, tensor_spec
from convfault.model import Model, Signature, TensorSpec
from convfault.native.keras_layers import recording
from convfault.trace import Trace

if TYPE_CHECKING:
    import numpy.typing as npt

EXECUTING = {
    "Lambda": "a Lambda layer, whose Python code is stored in the file",
    "__lambda__": "a Python lambda function",
    "TFSMLayer": "a TFSMLayer, which runs a SavedModel from another place",
    "TorchModuleWrapper": "a TorchModuleWrapper, which is a pickled torch module",
}
"""Classes in a model's configuration that execute what is stored beside them."""


class Keras(Framework):
    """Keras on TensorFlow, NHWC. Tensor names are layer names; ``outer/inner`` for a layer inside of a model."""

    name = "keras"
    package = "keras"
    extra = "keras"
    layout = "NHWC"
    batch_size = 8

    def signature(self, model: Model) -> Signature:
        """Inputs and outputs of the model, under its ``Input`` and output layers' names."""
        with self.open(model) as session:
            return session.signature

    def open(self, model: Model, perturbation: Perturbation | None = None) -> Session:
        """Load the model without its optimizer; raises ``TrustError`` if it would execute code of its own."""
        with self.importing():
            import keras  # noqa: F401 -- so that its absence is said here
        configure_threads()
        with reading(model):
            if not model.trusted:
                _refuse_code(model, _configuration(model))
            network = _loaded(model)
            if not getattr(network, "inputs", None):
                raise FormatError(f"{model.path} does not say its inputs: save a functional or built Sequential model")
            if perturbation is not None:
                for index, variable in enumerate(network.variables):
                    variable.assign(perturbation.apply(variable.numpy(), index))
            return KerasSession(self, network)


class KerasSession(Session):
    """A model traced as TensorFlow functions, one for every set of captured layers."""

    def __init__(self, framework: Keras, network: Any) -> None:
        self._framework, self._network = framework, network
        self._functions: dict[tuple[str, ...], Any] = {}
        outputs = unique([tensor._keras_history.operation.name for tensor in network.outputs])
        self.signature = Signature(
            tuple(_spec(tensor.name, tensor) for tensor in network.inputs),
            tuple(_spec(name, tensor) for name, tensor in zip(outputs, network.outputs, strict=True)),
        )
        self._function(())

    def _function(self, capture: tuple[str, ...]) -> Any:
        """The traced function that gives the outputs and the captured layers' values."""
        if capture not in self._functions:
            self._functions[capture] = self._traced(lambda recorded: [recorded[name] for name in capture])
        return self._functions[capture]

    def _traced(self, choose: Callable[[dict[str, Any]], list[Any]]) -> Any:
        import tensorflow as tf

        specs = [tf.TensorSpec(spec.shape, spec.dtype, spec.name) for spec in self.signature.inputs]

        def run(*inputs: Any) -> list[Any]:
            with recording(self._network) as recorded:
                outputs = self._network(inputs[0] if len(inputs) == 1 else list(inputs), training=False)
            return [*tf.nest.flatten(outputs), *choose(recorded)]

        return tf.function(run, autograph=False).get_concrete_function(*specs)

    @cached_property
    def _inner(self) -> tuple[TensorSpec, ...]:
        names: list[str] = []

        def choose(recorded: dict[str, Any]) -> list[Any]:
            names.extend(name for name, value in recorded.items() if value.shape.rank)
            return [recorded[name] for name in names]

        tensors = self._traced(choose).outputs[len(self.signature.outputs) :]
        specs = [tensor_spec(name, tensor) for name, tensor in zip(names, tensors, strict=True)]
        return tuple(spec for spec in specs if spec.shape[:1] == self.signature.inputs[0].shape[:1])

    def tensors(self) -> tuple[TensorSpec, ...]:
        """The output of every layer, in the order in which they run."""
        return self._inner

    def run_batch(self, inputs: Mapping[str, npt.NDArray[Any]], capture: Sequence[str] = ()) -> Trace:
        """Run the model in inference mode, as ``predict`` does."""
        import tensorflow as tf

        feeds = [tf.constant(inputs[spec.name], spec.dtype) for spec in self.signature.inputs]
        values = [value.numpy() for value in self._function(tuple(capture))(*feeds)]
        names = [spec.name for spec in self.signature.outputs]
        outputs = dict(zip(names, values, strict=False))
        return self._framework.trace(outputs, dict(zip(capture, values[len(names) :], strict=True)))

    def close(self) -> None:
        """Release the model and its traces."""
        self._network, self._functions = None, {}


def unique(names: Sequence[str]) -> list[str]:
    """The names, those that come again marked ``#1``, ``#2``."""
    return [f"{name}#{index}" if name in names[:index] else name for index, name in enumerate(names)]


def _loaded(model: Model) -> Any:
    import keras

    try:
        return keras.saving.load_model(model.path, compile=False, safe_mode=not model.trusted)
    except (TypeError, ValueError) as error:
        unknown = re.search(r"(?:Could not locate class|Unknown layer:) '?(\w+)", str(error))
        if unknown is None:
            raise
        raise FormatError(
            f"{model.path} needs the class {unknown[1]}, which is not one of Keras' own: "
            "save the model with Keras' layers only, or export it as a SavedModel"
        ) from error


def _spec(name: str, tensor: Any) -> TensorSpec:
    return TensorSpec(name, tuple(tensor.shape), str(tensor.dtype))


def _configuration(model: Model) -> Any:
    """The model's configuration as stored in the file: nested dictionaries."""
    if zipfile.is_zipfile(model.path):
        with zipfile.ZipFile(model.path) as archive:
            return json.loads(archive.read("config.json"))
    import h5py

    with h5py.File(model.path, "r") as file:
        stored = file.attrs.get("model_config")
        if stored is None:
            raise FormatError(f"{model.path} holds weights without a model: save the whole model with model.save()")
        return json.loads(stored)


def _refuse_code(model: Model, configuration: Any) -> None:
    for name in _class_names(configuration):
        if name in EXECUTING:
            raise TrustError(
                f"{model.path} holds {EXECUTING[name]}: give --trust if you know where the model comes from"
            )


def _class_names(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield str(value.get("class_name", ""))
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in parts:
        yield from _class_names(part)


KERAS = Keras()
