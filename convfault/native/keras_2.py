"""What is special about files of Keras 2: what their configuration may name, and weights that lie in it.

The loader of Keras 2 imports any module that a configuration names and calls what it finds there (CVE-2025-1550 and
its successors; they were mended in Keras 3 only), its ``TFOpLambda`` layers call any function of TensorFlow, those
that write files or load libraries among them. So a file that is not trusted may only name what is known to compute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from convfault.errors import TrustError
from convfault.model import Model

if TYPE_CHECKING:
    import numpy.typing as npt

PACKAGES = ("keras", "tf_keras")
CLASSES = ("layers", "models", "initializers", "regularizers", "constraints", "optimizers", "losses", "metrics")
"""Parts of Keras whose public classes a configuration may name."""
FUNCTIONS = ("activations", "losses", "metrics")
READERS = {"deserialize", "get", "serialize"}
"""Functions of these parts that make something of a configuration instead of computing."""
FURTHER_CLASSES = frozenset(
    {
        *("Functional", "Policy", "TFOpLambda", "SlicingOpLambda", "TensorShape"),
        *("__tensor__", "__numpy__", "__bytes__", "__tuple__", "__ellipsis__"),
    }
)
"""Classes that Keras writes without making them public, and its marks for values that JSON lacks."""

OPERATOR_LAYERS = frozenset({"TFOpLambda", "SlicingOpLambda"})
COMPUTING = ("math", "nn", "linalg", "image", "signal", "bitwise", "__operators__")
"""Modules of TensorFlow whose functions do nothing but compute."""
FURTHER_FUNCTIONS = """
    abs acos acosh add add_n argmax argmin argsort asin asinh atan atan2 atanh batch_to_space boolean_mask broadcast_to
    cast clip_by_norm clip_by_value complex concat constant convert_to_tensor cos cosh cumsum divide einsum
    ensure_shape equal exp expand_dims eye fill floor gather gather_nd greater greater_equal identity less less_equal
    linspace logical_and logical_not logical_or matmul maximum meshgrid minimum multiply negative norm not_equal
    one_hot ones ones_like pad pow range rank realdiv reduce_all reduce_any reduce_logsumexp reduce_max reduce_mean
    reduce_min reduce_prod reduce_sum repeat reshape reverse reverse_sequence roll round saturate_cast scalar_mul
    scatter_nd searchsorted sequence_mask shape shape_n sigmoid sign sin sinh size slice sort space_to_batch
    space_to_batch_nd split sqrt square squeeze stack stop_gradient strided_slice subtract tan tanh
    tensor_scatter_nd_add tensor_scatter_nd_max tensor_scatter_nd_min tensor_scatter_nd_sub tensor_scatter_nd_update
    tensordot tile transpose truediv truncatediv truncatemod unique unravel_index unstack where zeros zeros_like
"""
COMPUTING_FUNCTIONS = frozenset(FURTHER_FUNCTIONS.split())
"""Those outside of such modules."""

Change = Callable[["npt.NDArray[Any]", int], "npt.NDArray[Any]"]


def refuse_unknown(model: Model, configuration: Any, library: Any) -> None:
    """Raise ``TrustError`` when the configuration names anything but layers and functions that only compute."""
    loaded = {name: value for name, value in configuration.items() if name != "compile_config"}
    for item in dictionaries(loaded):
        if "class_name" in item and (what := _unknown(item, library)):
            raise TrustError(
                f"{model.path} names {what}, which is none of Keras' own layers and may execute code: "
                "give --trust if you know where the model comes from"
            )


def _unknown(item: dict[str, Any], library: Any) -> str:
    """What a serialized object names that is not allowed, in words; empty where all is."""
    name, module, registered = item["class_name"], item.get("module"), item.get("registered_name")
    if module not in (None, "builtins") and str(module).partition(".")[0] not in PACKAGES:
        return f"the module {module}"
    if name == "function":
        function = item.get("config")
        known = function in _functions(library) and registered in (None, "function", function)
        return "" if known else f"the function {function}"
    if name not in _classes(library):
        return f"the class {name}"
    if registered not in (None, name):  # Keras looks for this name too
        return f"the class {registered}"
    if name in OPERATOR_LAYERS and not _only_computes(str((item.get("config") or {}).get("function"))):
        return f"TensorFlow's function {item['config'].get('function')}"
    return ""


@cache
def _classes(library: Any) -> frozenset[str]:
    return FURTHER_CLASSES | {name for name, value in _public(library, CLASSES) if isinstance(value, type)}


@cache
def _functions(library: Any) -> frozenset[str]:
    functions = {name for name, value in _public(library, FUNCTIONS) if callable(value) and not isinstance(value, type)}
    return frozenset(functions - READERS)


def _public(library: Any, parts: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for place in (getattr(library, part) for part in parts):
        yield from ((name, getattr(place, name)) for name in dir(place) if name[:1] != "_")


def _only_computes(function: str) -> bool:
    """Whether one of TensorFlow's functions by its public name, like ``compat.v1.nn.relu``, does nothing else."""
    plain = function.removeprefix("compat.").removeprefix("v1.").removeprefix("v2.")
    return plain in COMPUTING_FUNCTIONS or plain.partition(".")[0] in COMPUTING


def dictionaries(value: Any) -> Iterator[dict[str, Any]]:
    """Every dictionary in a configuration, outer ones first."""
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value:
        if isinstance(part, dict | list):  # numbers, of which there can be millions, cost one look each
            yield from dictionaries(part)


class Constants:
    """Weights that are written into the configuration as lists of numbers, as onnx2tf does with all of them.

    ``change(weights, index)`` gives the values to use; ``count`` is how many arrays it was asked for.
    """

    def __init__(self, change: Change) -> None:
        self._change, self.count = change, 0

    @staticmethod
    def are_in(configuration: Any) -> bool:
        """Whether any layer is called with such a list."""
        return any(_holds_floats(item.get("inbound_nodes")) for item in dictionaries(configuration))

    def as_arrays(self, value: Any) -> Any:
        """The same nested value, lists of floating point numbers as float32 arrays, which Keras reads in no time."""
        if isinstance(value, dict):
            return {name: self.as_arrays(part) for name, part in value.items()}
        if not isinstance(value, list):
            return value
        if isinstance(_first(value), float) and (array := _array(value)) is not None:
            self.count += 1
            return self._change(array, self.count - 1)
        return [self.as_arrays(part) for part in value]


def load_with_arrays(model: Model, configuration: Any, library: Any, constants: Constants) -> Any:
    """What ``load_model`` does with a ``.keras`` file, the lists of numbers in its configuration read as arrays.

    As lists, three million weights take Keras a minute and a gigabyte.
    """
    for item in dictionaries(configuration):
        if isinstance(item.get("inbound_nodes"), list):
            item["inbound_nodes"] = constants.as_arrays(item["inbound_nodes"])
    configuration = {**configuration, "compile_config": None}
    network = library.saving.deserialize_keras_object(configuration, safe_mode=not model.trusted)
    if network.variables:
        network.load_weights(model.path)
    return network


def _holds_floats(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_floats, value.values()))
    return isinstance(value, list) and (isinstance(_first(value), float) or any(map(_holds_floats, value)))


def _first(value: Any) -> Any:
    """The first value inside of nested lists; None in an empty one."""
    while isinstance(value, list):
        value = value[0] if value else None
    return value


def _array(values: list[Any]) -> npt.NDArray[Any] | None:
    """A float32 array of nested lists; None when they are ragged or hold something else."""
    import numpy as np

    try:
        array = np.asarray(values)
    except ValueError:
        return None
    return array.astype(np.float32) if array.dtype == np.float64 else None
