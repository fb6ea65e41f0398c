"""Opens ``.keras`` and ``.h5`` files: those of Keras 3 with ``keras``, those of Keras 2 with ``tf_keras``.

Keras 3 does not read every file of Keras 2, and means other things by some layers of those that it reads. Which of
the two wrote a file is told by the version in it.
"""

from __future__ import annotations

import json
import re
import sys
import zipfile
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from convfault.errors import FormatError, TrustError
from convfault.model import Model
from convfault.native import keras_2

if TYPE_CHECKING:
    import numpy.typing as npt

    Change = Callable[[npt.NDArray[Any], int, str], npt.NDArray[Any]]

SINGLE, COARSE = "float32", ("bfloat16", "float16")

EXECUTING = {
    "Lambda": "a Lambda layer, whose Python code is stored in the file",
    "__lambda__": "a Python lambda function",
    "TFSMLayer": "a TFSMLayer, which runs a SavedModel from another place",
    "TorchModuleWrapper": "a TorchModuleWrapper, which is a pickled torch module",
}
"""Classes in a model's configuration that execute what is stored beside them."""


def load(model: Model, change: Change | None = None) -> Any:
    """The ``Model`` of ``keras`` or ``tf_keras``, not compiled.

    ``change(weights, index, precision)`` gives other values for an array of weights: a perturbation, of a model that
    computes in that precision. Raises ``TrustError`` when the file would execute code and is not trusted,
    ``FormatError`` when it holds no model or a class that Keras lacks, ``ModuleNotFoundError`` without the package,
    and whatever Keras raises over a damaged file.
    """
    library = package(model)
    configuration = _configuration(model)
    _check_lambdas(model, configuration)
    if not model.trusted:
        _refuse_code(model, configuration)
        if is_keras_2(library):
            keras_2.refuse_unknown(model, configuration, library)
    changed = change or (lambda values, index, precision: values)
    alike = keras_2.Constants(lambda values, index: changed(values, index, SINGLE))
    constants = alike if is_keras_2(library) else None
    network = _loaded(model, library, configuration, constants)
    if change is not None:
        first, coarsest = constants.count if constants is not None else 0, precision(network)
        for index, variable in enumerate(network.variables, start=first):
            variable.assign(change(variable.numpy(), index, coarsest))
    return network


def precision(network: Any) -> str:
    """The coarsest type that a layer computes in: the policy ``mixed_float16`` computes in half precision."""
    found = {str(layer.compute_dtype) for layer in network._flatten_layers()}
    return next((name for name in COARSE if name in found), SINGLE)


def package(model: Model) -> Any:
    """The package that reads the file: ``keras``, or ``tf_keras`` for one of Keras 2."""
    if not writer(model).startswith("2."):
        import keras

        return keras
    try:
        import tf_keras
    except ModuleNotFoundError:
        import keras

        if not is_keras_2(keras):  # where Keras 2 itself is installed, tf_keras is not needed
            raise
        return keras
    return tf_keras


def is_keras_2(library: Any) -> bool:
    """Whether a package is Keras 2: ``tf_keras``, or ``keras`` before its third version."""
    return bool(library.__name__ == "tf_keras" or library.__version__.startswith("2."))


def writer(model: Model) -> str:
    """The version of Keras that wrote the file, empty where it does not say."""
    if zipfile.is_zipfile(model.path):
        with zipfile.ZipFile(model.path) as archive:
            return str(json.loads(archive.read("metadata.json")).get("keras_version", ""))
    import h5py

    with h5py.File(model.path, "r") as file:
        return _text(file.attrs.get("keras_version", ""))


def version(network: Any) -> str:
    """Of the package that a loaded model is run by, with the package's name where that is not ``keras``."""
    library = sys.modules[type(network).__module__.partition(".")[0]]
    return f"{library.__name__} {library.__version__}" if library.__name__ == "tf_keras" else str(library.__version__)


def layer_of(tensor: Any) -> Any:
    """The layer whose output a symbolic tensor of a functional model is."""
    history = tensor._keras_history
    return getattr(history, "operation", None) or history.layer


def variable_names(network: Any) -> dict[int, str]:
    """``id`` of a variable's resource handle → path of the variable."""
    if hasattr(next(iter(network.variables), None), "path"):
        return {id(variable.value.handle): variable.path for variable in network.variables}
    return {id(variable.handle): variable.name.partition(":")[0] for variable in network.variables}


def _loaded(model: Model, library: Any, configuration: Any, constants: keras_2.Constants | None) -> Any:
    try:
        if constants is not None and _is_plain_archive(model) and constants.are_in(configuration):
            return keras_2.load_with_arrays(model, configuration, library, constants)
        return library.saving.load_model(model.path, compile=False, safe_mode=not model.trusted)
    except (TypeError, ValueError) as error:
        unknown = re.search(r"(?:Could not locate (?:class|function)|Unknown layer:) '?(\w+)", str(error))
        if unknown is None:
            raise
        raise FormatError(
            f"{model.path} needs the class or function {unknown[1]}, which is not one of Keras' own: "
            "save the model with Keras' layers only, or export it as a SavedModel"
        ) from error


def _is_plain_archive(model: Model) -> bool:
    """Whether the file is a ``.keras`` one with weights, but without further files of its layers' own."""
    if not zipfile.is_zipfile(model.path):
        return False
    with zipfile.ZipFile(model.path) as archive:
        return not any(name.startswith("assets/") for name in archive.namelist())


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


def _check_lambdas(model: Model, configuration: Any) -> None:
    """Say so where a ``Lambda`` calls a function by its name alone: no trust makes such a file readable."""
    local = dict(_local_lambdas(configuration))
    if local:
        name, function = next(iter(local.items()))
        more = f" (and {len(local) - 1} more)" if len(local) > 1 else ""
        raise FormatError(
            f"{model.path} holds a Lambda layer '{name}'{more} over the function {function}, which was local to the "
            "program that wrote it: the file does not hold its code, so nobody can read it back"
        )


def _local_lambdas(configuration: Any) -> Iterator[tuple[str, str]]:
    """Name and function of each ``Lambda`` that calls a function by its name alone."""
    for item in keras_2.dictionaries(configuration):
        settings = item.get("config") or {}
        function = settings.get("function") if item.get("class_name") == "Lambda" else None
        function = function if isinstance(function, dict) else {}
        if (function.get("class_name"), function.get("module")) == ("function", "builtins"):
            yield str(settings.get("name", "")), str(function.get("config"))


def _class_names(value: Any) -> Iterator[str]:
    return (str(item.get("class_name", "")) for item in keras_2.dictionaries(value))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
