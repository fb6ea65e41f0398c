"""A report, or the end of a process, becomes the outcome of a cell: how it ended, where, and for which cause."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convfault import pipeline
from convfault.cache import Cache
from convfault.comparison import Comparison
from convfault.errors import DataError, FormatError, StorageError, SubjectError, TrustError, UsageError
from convfault.matrix.cells import Cell, Matrix
from convfault.matrix.outcomes import conclude, from_report
from convfault.matrix.selection import Selection, Work
from convfault.process import Outcome
from convfault.report import Report
from convfault.request import Context
from tests import samples

CELL = Cell("inceptionv3", "tf", "torch", "tf>onnx:tf2onnx>torch:onnx2torch")


def hop_ended(status: str, message: str, log: str = "") -> Report:
    """The sample's crash, another way."""
    crashing = samples.crashing()
    last = {**crashing.route[-1], "status": "crash", "ended": status, "message": message, "log": log}
    return replace(crashing, route=(*crashing.route[:-1], last))


def target_failed(message: str, stage: str) -> Report:
    """Every hop did its work, and the target cannot be read or run."""
    return replace(samples.agreeing(), comparison=Comparison.crash(message, stage))


def test_the_figures_of_a_comparison_are_in_the_outcome() -> None:
    report = samples.differing()
    found = from_report(CELL, report, 12.3456)
    comparison = report.comparison
    assert (found.status, found.stage, found.cause) == ("differ", "", "")
    assert (found.top1_disagreement, found.kendall_tau) == (comparison.top1_disagreement, comparison.kendall_tau)
    assert found.tolerance == comparison.outputs[0].tolerance.value
    assert found.tolerance_ratio == pytest.approx(comparison.outputs[0].max_abs_error / found.tolerance)
    assert (found.images, found.seconds) == (comparison.images, 12.346)
    assert found.message == comparison.reasons[0]
    assert found.conversion_seconds == pytest.approx(sum(hop["seconds"] for hop in report.route))
    assert found.size_bytes == report.target["size_bytes"]


@pytest.mark.parametrize("change", [{"unmatched": 1}, {"comparable": False}, {"max_abs_error": None}])
def test_what_has_no_counterpart_is_no_number_of_tolerances(change: dict[str, Any]) -> None:
    report = samples.differing()
    first, *rest = report.comparison.outputs
    outputs = (replace(first, **change), *rest)
    found = from_report(CELL, replace(report, comparison=replace(report.comparison, outputs=outputs)), 1.0)
    assert found.tolerance_ratio is None


def test_the_hop_that_failed_is_named_with_its_tool_and_version() -> None:
    found = from_report(CELL, hop_ended("error", "KeyError: 'axes'", "the log"), 1.0)
    assert (found.status, found.stage, found.hop) == ("crash", "convert", 1)
    assert (found.tool, found.tool_version) == ("onnx2torch", "1.5.15")
    assert (found.cause, found.message, found.details) == (
        "onnx2torch: KeyError: 'axes'",
        "KeyError: 'axes'",
        "the log",
    )
    assert found.versions == {"tf2onnx": "1.17.0", "onnx2torch": "1.5.15"}


@pytest.mark.parametrize(
    ("status", "message", "expected", "cause"),
    [
        ("crash", "killed by SIGSEGV", "crash", "onnx2torch: killed by SIGSEGV"),
        ("timeout", "no end after 1800 s", "timeout", "onnx2torch: no end in time"),
        ("memory", "used more than 9000 MB", "memory", "onnx2torch: out of memory"),
        ("crash", "onnx2torch (onnx to torch): killed by SIGKILL", "memory", "onnx2torch: out of memory"),
        ("error", "MemoryError: Unable to allocate 8 GiB", "memory", "onnx2torch: out of memory"),
    ],
)
def test_crash_hang_and_memory_are_told_apart(status: str, message: str, expected: str, cause: str) -> None:
    found = from_report(CELL, hop_ended(status, message), 1.0)
    assert (found.status, found.cause) == (expected, cause)


@pytest.mark.parametrize(
    ("message", "status", "stage"),
    [
        ("/x/model.keras: read as keras by keras: killed by SIGSEGV", "crash", "load"),
        ("model.keras cannot be read: Unknown layer: 'Lambda'", "crash", "load"),
        ("run the target in torch: killed by SIGFPE", "crash", "run"),
        ("run the target in torch: no sign of life for 900 s", "timeout", "run"),
        ("run the target in torch: killed by SIGKILL", "memory", "run"),
    ],
)
def test_a_target_that_cannot_be_read_or_run_is_the_fault_of_its_maker(message: str, status: str, stage: str) -> None:
    found = from_report(CELL, target_failed(message, stage), 1.0)
    assert (found.status, found.stage, found.tool) == (status, stage, samples.agreeing().route[-1]["tool"])
    assert found.cause.endswith(f"({stage})")


def ended(status: str = "error", error: Exception | None = None, message: str = "", log: str = "") -> Outcome:
    return Outcome(status, None, message or str(error), log, 3.0, 100.0, "try", error)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "error", [StorageError("disk full"), DataError("bad npz"), TrustError("--trust"), UsageError("x")]
)
def test_what_every_cell_would_meet_is_raised(error: UsageError) -> None:
    with pytest.raises(type(error)):
        conclude(CELL, ended(error=error))


@pytest.mark.parametrize(
    ("outcome", "status", "stage"),
    [
        (ended(error=FormatError("m.keras cannot be read")), "crash", "load"),
        (ended(error=SubjectError("died", "crash", "build inceptionv3 for tf")), "crash", "build"),
        (ended(error=SubjectError("slow", "timeout", "run the source in tf")), "timeout", "run"),
        (ended(error=SubjectError("died", "crash", "m.onnx: read as onnx by onnx")), "crash", "load"),
        (ended("timeout", message="try: no sign of life for 9 s"), "timeout", "run"),
        (ended("crash", message="try: killed by SIGKILL"), "memory", "run"),
        (ended("crash", message="try: killed by SIGSEGV"), "defect", ""),
        (ended("error", message="IndexError: list index out of range", log="Traceback ..."), "defect", ""),
    ],
)
def test_the_end_of_a_cells_process_is_an_outcome(outcome: Outcome, status: str, stage: str) -> None:
    found = conclude(CELL, outcome).outcome
    assert (found.status, found.stage) == (status, stage)
    assert found.cause


def test_a_defect_keeps_the_traceback() -> None:
    assert conclude(CELL, ended(message="IndexError: x", log="Traceback ...")).outcome.details == "Traceback ..."


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests import tiny

    path = tmp_path_factory.mktemp("data") / "inputs.npz"
    np.savez(path, images=tiny.pictures(12, layout="NCHW"))
    return path


def tried(folder: Path, model: Path, arrays: Path, **changes: Any) -> Matrix:
    selection = Selection(source=str(model), data=str(arrays), **changes)
    context = Context(Cache(folder / "cache"))
    return pipeline.matrix(selection, Work(folder / "out", pages=True), context)


def test_a_real_model_of_the_users_goes_through_every_route(tmp_path: Path, tiny_onnx: Path, arrays: Path) -> None:
    if find_spec("onnx2torch") is None:  # importing it here would need a working torchvision
        pytest.skip("onnx2torch is not installed")
    found = tried(tmp_path, tiny_onnx, arrays, targets=("torch",), tools=("onnx2torch",), max_hops=1)
    (outcome,) = [outcome for outcome in found.outcomes if outcome.cell.target == "torch"]
    assert (outcome.status, outcome.images) == ("agree", 12)
    assert outcome.size_bytes
    assert outcome.cell.title == "tiny.onnx"
    assert found.models[str(tiny_onnx)]
    assert Report.read(tmp_path / "out" / outcome.report).comparison.verdict == "agree"
    assert "<html" in (tmp_path / "out" / outcome.report).with_suffix(".html").read_text()
    again = tried(tmp_path, tiny_onnx, arrays, targets=("torch",), tools=("onnx2torch",), max_hops=1)
    assert again.outcomes == found.outcomes
    assert all(outcome.cached for outcome in again.outcomes)
