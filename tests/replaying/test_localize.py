"""``localize`` where a runtime errs: the vote is in the report, and nothing is replayed where no layer deviates."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convfault
from convfault import investigation
from convfault.cache import Cache
from convfault.localization.gather import Material
from convfault.report import Report, invalid
from convfault.request import Context
from convfault.trace import StoredTrace, Trace, TraceWriter
from tests import tiny


def localized(folder: Path) -> Report:
    for name in ("tvm", "onnxruntime"):
        pytest.importorskip(name)
    source = tiny.onnx_model(folder)
    target = shutil.copy(source, folder / "target.onnx")
    np.savez(folder / "data.npz", images=tiny.pictures(6, seed=5, layout="NCHW"))
    return convfault.localize(
        source, target, data=str(folder / "data.npz"), context=Context(Cache(folder / "cache")), trials=0
    )


def test_a_wrong_kernel_of_the_targets_runtime_is_outvoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gather = investigation.gather

    def erring(*arguments: Any) -> Material:
        material = gather(*arguments)
        trace = material.traces[1]
        tensors = {name: trace.read(name) for name in trace.names}
        tensors["probabilities"] = tensors["probabilities"] + np.float32(0.1)
        with TraceWriter(tmp_path / "wrong") as writer:
            writer.append(Trace(tensors, trace.outputs, trace.framework, trace.version, trace.layout))
        return replace(material, traces=(material.traces[0], StoredTrace(tmp_path / "wrong")))

    monkeypatch.setattr(investigation, "gather", erring)
    report = localized(tmp_path)
    (fault,) = report.faults
    assert (fault.kind, fault.target_location, fault.confidence) == ("runtime", "Softmax_probabilities", 0.95)
    assert {vote["sides_with"] for vote in fault.evidence["votes"]} == {"graph"}
    assert report.attribution is not None
    assert report.attribution["blame"] == "runtime"
    assert report.attribution["replays"][0]["outcome"] == "runtime"
    assert invalid(report.to_record()) is None


def test_a_sound_pair_is_not_put_to_a_vote(tmp_path: Path) -> None:
    report = localized(tmp_path)
    assert report.faults == ()
    assert report.attribution is not None
    assert report.attribution["replays"] == []
    assert report.seconds["blame"] < 1
