"""TFLite's flatbuffers: constants that lie behind them, and packing."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from convfault.errors import FormatError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

ALIGNMENT = 16
"""In bytes: where the schema wants a buffer's data to begin."""

LARGEST = 2**31 - 1
"""Bytes of a flatbuffer."""


def gathered(content: bytes, flat: Any) -> bytes:
    """The file with all constants inside the flatbuffer; the same bytes where none lies behind it.

    Files of more than 2 GiB, and those that Google's quantizer writes, keep their constants behind the flatbuffer. A
    file that cannot hold them inside raises ``FormatError``. ``flat`` are the classes of the schema.
    """
    root = flat.Model.GetRootAs(content, 0)
    if not any(root.Buffers(index).Offset() > 1 for index in range(root.BuffersLength())):
        return content
    if len(content) >= LARGEST:
        raise FormatError(f"the file has {len(content):,} bytes, and TFLite's own format holds less than {LARGEST:,}")
    model = flat.ModelT.InitFromObj(root)
    for buffer in model.buffers:
        if buffer.offset > 1:
            buffer.data = _behind(content, buffer.offset, buffer.size)
        buffer.offset = buffer.size = 0
    for operator in (operator for graph in model.subgraphs for operator in graph.operators or ()):
        if operator.largeCustomOptionsOffset > 1:
            found = _behind(content, operator.largeCustomOptionsOffset, operator.largeCustomOptionsSize)
            operator.customOptions = found
        operator.largeCustomOptionsOffset = operator.largeCustomOptionsSize = 0
    return packed(model)


def _behind(content: bytes, offset: int, size: int) -> npt.NDArray[np.uint8]:
    import numpy as np

    if offset + size > len(content):
        raise FormatError("the file is cut off: constants lie beyond its end")
    return np.frombuffer(content, np.uint8, size, offset)


def packed(model: Any) -> bytes:
    """The bytes of a tree of the schema's objects (``ModelT``), every constant where the schema wants it."""
    builder = importlib.import_module("flatbuffers").Builder(1 << 20)
    model.buffers = [_aligned(buffer) for buffer in model.buffers]
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _aligned(buffer: Any) -> Any:
    """The buffer, packed with its data at a multiple of 16 bytes; the generated code forgets that."""
    import numpy as np

    class Aligned(type(buffer)):  # type: ignore[misc]
        data: Any

        def Pack(self, builder: Any) -> Any:  # noqa: N802 - the generated code's name
            if self.data is not None and len(self.data):
                self.data = np.ascontiguousarray(self.data, np.uint8)
                builder.Prep(ALIGNMENT, len(self.data))
            return super().Pack(builder)

    found = Aligned()
    found.data, found.offset, found.size = buffer.data, buffer.offset, buffer.size
    return found
