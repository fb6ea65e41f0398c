"""Traces on disk hold exactly what was written, however the batches were cut."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convfault.errors import ConvfaultError
from convfault.trace import StoredTrace, Trace, TraceWriter


def trace(values: np.ndarray) -> Trace:
    return Trace({"scores": values, "inner": values[:, :2] * 2}, ("scores",), "onnx", "1.0", "NCHW")


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.integers(0, 12), st.integers(0, 12))
def test_any_rows_read_back_as_written(sizes: list[int], start: int, length: int) -> None:
    values = np.random.default_rng(0).standard_normal((sum(sizes), 3)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        with TraceWriter(Path(folder)) as writer:
            for piece in np.split(values, np.cumsum(sizes)[:-1]):
                writer.append(trace(piece))
        stored = StoredTrace(Path(folder))
        start = min(start, len(values))
        stop = min(start + length, len(values))
        assert np.array_equal(stored.read("scores", start, stop), values[start:stop])
        assert np.array_equal(stored.read("inner"), values[:, :2] * 2)
        assert (len(stored), stored.outputs, stored.layout) == (len(values), ("scores",), "NCHW")


def test_a_run_that_broke_off_has_no_header(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="broke"), TraceWriter(tmp_path) as writer:  # noqa: PT012
        writer.append(trace(np.zeros((2, 3), np.float32)))
        raise ValueError("broke")
    with pytest.raises(ConvfaultError, match="cannot be read"):
        StoredTrace(tmp_path)
