"""Imports a model of any format to Relax; each format's importer is imported on first use."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from convfault.errors import ConvfaultError, FormatError, MissingPackageError
from convfault.model import Model
from convfault.registry import Registry
from convfault.relax.imported import Imported, first_line

Importer = Callable[[Model, int], Imported]

IMPORTERS: Registry[Importer] = Registry(
    "importer",
    {
        "onnx": "convfault.relax.import_onnx:import_onnx",
        "tflite": "convfault.relax.import_tflite:import_tflite",
        "pt2": "convfault.relax.import_torch:import_exported",
        "torch_function": "convfault.relax.import_torch:import_function",
        "saved_model": "convfault.relax.import_tensorflow:import_saved_model",
        "frozen_graph": "convfault.relax.import_tensorflow:import_frozen_graph",
        "keras": "convfault.relax.import_tensorflow:import_keras",
        "keras_h5": "convfault.relax.import_tensorflow:import_keras",
    },
)
"""Model format → function (model, batch size) → ``Imported``."""


def import_model(model: Model, batch: int = 1) -> Imported:
    """The model in Relax, its batch size fixed to ``batch`` where the file leaves it open.

    Raises ``FormatError`` when the file cannot be read and ``ShapeError`` when an input has another open dimension.
    An operator that cannot be imported is no error: see ``Imported.unsupported``.
    """
    with _reading(model), _quiet():
        return IMPORTERS[model.format](model, batch)


@contextmanager
def _reading(model: Model) -> Iterator[None]:
    """Translate what a frontend raises over a model that it cannot take."""
    try:
        yield
    except ConvfaultError:
        raise
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f'{error.name} is not installed: pip install "convfault[tvm,{model.framework}]"'
        ) from error
    except Exception as error:
        raise FormatError(f"{model.path} cannot be imported to TVM Relax: {first_line(error)}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """TVM's importers warn of renamed inputs and the like, which no user can act on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
