"""What the layers of a Keras model return, under the names that a user knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any


@contextmanager
def recording(network: Any) -> Iterator[dict[str, Any]]:
    """While it is open, what every layer of ``network`` returns is noted: layer name → tensor, in running order.

    The name of a layer that runs again gets ``@1``, ``@2``; further tensors of one layer ``:1``, ``:2``.
    """
    import tensorflow as tf

    recorded: dict[str, Any] = {}
    path: list[str] = []

    def watched(layer: Any, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            path.append(layer.name)
            result = call(*arguments, **options)
            place = "/".join(path)
            path.pop()
            for index, value in enumerate(tf.nest.flatten(result)):
                _note(recorded, f"{place}:{index}" if index else place, value)
            return result

        return run

    with ExitStack() as undo:
        for layer in network._flatten_layers(include_self=False, recursive=True):
            if type(layer).__name__ == "InputLayer":
                continue
            for method in ("call", "quantized_call"):
                if hasattr(layer, method):
                    undo.callback(_put_back, layer, method, vars(layer).get(method))
                    vars(layer)[method] = watched(layer, getattr(layer, method))
        yield recorded


def _put_back(layer: Any, method: str, own: Any) -> None:
    """Make a layer as it was before: ``own`` is what it had itself (``TFOpLambda`` of Keras 2 has), None: its class."""
    if own is None:
        del vars(layer)[method]
    else:
        vars(layer)[method] = own


def _note(recorded: dict[str, Any], name: str, value: Any) -> None:
    if hasattr(value, "shape"):
        again = sum(1 for known in recorded if known.partition("@")[0] == name)
        recorded[f"{name}@{again}" if again else name] = value
