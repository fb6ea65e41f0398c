"""The named tensors of a run, in memory for one batch or on disk for a whole data set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

from convfault.cache import storage_errors
from convfault.errors import ConvfaultError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

HEADER = "trace.json"


@dataclass(frozen=True)
class Trace:
    """Tensors of one run by native name, each with the batch first, and where they come from.

    ``layout`` is that of the framework's picture tensors (NHWC or NCHW). ``outputs`` names the model's outputs, in
    order; other tensors were captured.
    """

    tensors: Mapping[str, npt.NDArray[Any]]
    outputs: tuple[str, ...]
    framework: str
    version: str
    layout: str

    def output(self, index: int = 0) -> npt.NDArray[Any]:
        """The model's output number ``index``."""
        return self.tensors[self.outputs[index]]


class TraceWriter:
    """Appends the traces of successive batches to a folder: one raw file a tensor and a header at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, BinaryIO] = {}
        self._header: dict[str, Any] = {}
        self._count = 0

    def __enter__(self) -> TraceWriter:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def append(self, trace: Trace) -> None:
        """Write one batch; every batch has the same tensors."""
        with storage_errors(self.folder):
            for index, (name, values) in enumerate(trace.tensors.items()):
                if name not in self._files:
                    self._files[name] = open(self.folder / f"{index}.raw", "wb")  # noqa: SIM115 -- closed in __exit__
                self._files[name].write(values.tobytes())
        if not self._header:
            self._header = {
                "framework": trace.framework,
                "version": trace.version,
                "layout": trace.layout,
                "outputs": list(trace.outputs),
                "tensors": [
                    {"name": name, "shape": list(values.shape[1:]), "dtype": str(values.dtype)}
                    for name, values in trace.tensors.items()
                ],
            }
        self._count += len(trace.output())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()
        if kind is None:
            with storage_errors(self.folder):
                (self.folder / HEADER).write_text(json.dumps({**self._header, "count": self._count}))


class StoredTrace:
    """A trace on disk, read piece by piece: memory does not grow with the number of pictures."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self._header = json.loads((folder / HEADER).read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise ConvfaultError(f"the saved run in {folder} cannot be read: {error}") from error
        self._index = {tensor["name"]: index for index, tensor in enumerate(self._header["tensors"])}

    @property
    def framework(self) -> str:
        return str(self._header["framework"])

    @property
    def version(self) -> str:
        return str(self._header["version"])

    @property
    def layout(self) -> str:
        """Layout of the framework's picture tensors: NHWC or NCHW."""
        return str(self._header["layout"])

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(self._header["outputs"])

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._index)

    def __len__(self) -> int:
        """Number of pictures."""
        return int(self._header["count"])

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of one tensor without the batch."""
        return tuple(self._header["tensors"][self._index[name]]["shape"])

    def read(self, name: str, start: int = 0, stop: int | None = None) -> npt.NDArray[np.generic]:
        """Rows ``start`` to ``stop`` of a tensor, batch first."""
        import numpy as np

        index = self._index[name]
        shape = self.shape(name)
        dtype = np.dtype(self._header["tensors"][index]["dtype"])
        stop = len(self) if stop is None else min(stop, len(self))
        size = int(np.prod(shape, dtype=np.int64))
        path = self.folder / f"{index}.raw"
        values = np.fromfile(path, dtype, size * (stop - start), offset=start * size * dtype.itemsize)
        return values.reshape(stop - start, *shape)
