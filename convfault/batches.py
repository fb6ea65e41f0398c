"""Decoded data on disk, read batch by batch by the processes that run models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convfault.errors import ShapeError
from convfault.model import Signature, TensorSpec
from convfault.preprocessing import Preprocessing

if TYPE_CHECKING:
    import numpy.typing as npt

PERMUTATIONS = {("NHWC", "NCHW"): (0, 3, 1, 2), ("NCHW", "NHWC"): (0, 2, 3, 1)}


@dataclass(frozen=True)
class Batches:
    """``count`` pictures or model inputs in ``folder``, one raw file ``<i>.raw`` for each of ``arrays``.

    ``pictures``: one array, uint8 (H, W, C) in RGB order, already resized and cropped; each side's preprocessing
    makes its tensor of it. Otherwise the arrays are model inputs in ``layout``, only transposed for a side with
    another one. The shapes of ``arrays`` are without the batch.
    """

    folder: str
    arrays: tuple[TensorSpec, ...]
    count: int
    pictures: bool
    layout: str = "NHWC"

    def read(self, start: int, stop: int) -> dict[str, npt.NDArray[Any]]:
        """Rows ``start`` to ``stop`` of every array, by name."""
        import numpy as np

        stop = min(stop, self.count)
        found = {}
        for index, spec in enumerate(self.arrays):
            shape = tuple(int(side or 1) for side in spec.shape)
            dtype = np.dtype(spec.dtype)
            size = int(np.prod(shape, dtype=np.int64))
            path = Path(self.folder) / f"{index}.raw"
            values = np.fromfile(path, dtype, size * (stop - start), offset=start * size * dtype.itemsize)
            found[spec.name] = values.reshape(stop - start, *shape)
        return found

    def inputs(
        self, start: int, stop: int, signature: Signature, preprocessing: Preprocessing
    ) -> dict[str, npt.NDArray[Any]]:
        """Rows ``start`` to ``stop`` as the inputs of a model with this signature: native name → float32 tensor.

        Pictures feed the only input. Arrays go to inputs of their own name, else in order. Raises ``ShapeError``.
        """
        arrays = self.read(start, stop)
        if self.pictures:
            tensors = {name: preprocessing.tensor(values) for name, values in arrays.items()}
        else:
            tensors = {name: _permuted(values, self.layout, preprocessing.layout) for name, values in arrays.items()}
        if len(tensors) != len(signature.inputs):
            names = ", ".join(spec.name for spec in signature.inputs)
            raise ShapeError(
                f"the model has {len(signature.inputs)} inputs ({names}) but the data gives {len(tensors)}: "
                "give an .npz with one array for each input"
            )
        by_name = all(spec.name in tensors for spec in signature.inputs)
        chosen = {
            spec.name: tensors[spec.name] if by_name else values
            for spec, values in zip(signature.inputs, tensors.values(), strict=True)
        }
        for spec in signature.inputs:
            check_shape(spec, chosen[spec.name].shape)
        return chosen

    def to_record(self) -> dict[str, Any]:
        return {
            "folder": self.folder,
            "arrays": [spec.to_record() for spec in self.arrays],
            "count": self.count,
            "pictures": self.pictures,
            "layout": self.layout,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Batches:
        return cls(**{**record, "arrays": tuple(TensorSpec.from_record(item) for item in record["arrays"])})


def check_shape(spec: TensorSpec, shape: tuple[int, ...]) -> None:
    """Raise ``ShapeError`` unless ``shape`` fits the input (its batch dimension is not compared)."""
    wanted = spec.shape
    fits = len(wanted) == len(shape) and all(w in {None, s} for w, s in zip(wanted[1:], shape[1:], strict=True))
    if not fits:
        raise ShapeError(
            f"the model's input '{spec.name}' wants {_text(wanted)} but the data gives {_text(shape)}: "
            "check the size and layout in the preprocessing"
        )


def _permuted(values: npt.NDArray[Any], source: str, target: str) -> npt.NDArray[Any]:
    permutation = PERMUTATIONS.get((source, target))
    return values if permutation is None or values.ndim != 4 else values.transpose(permutation)


def _text(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("N" if i == 0 else "?" if s is None else str(s) for i, s in enumerate(shape)) + ")"
