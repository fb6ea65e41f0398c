"""Other ways to convert: which are tried, in which order, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convfault
from convfault import trials
from convfault.cache import Cache
from convfault.comparison import Comparison
from convfault.converters import route as routes
from convfault.converters.conversion import Conversion, HopResult
from convfault.dataset import Dataset
from convfault.errors import SubjectError, UsageError
from convfault.fault import Fault
from convfault.localization.tool.analyzer import Alternative
from convfault.measurement import Measurement
from convfault.model import Model
from convfault.preparation import Pair
from convfault.request import Context, Request
from convfault.trials import UNASKED, Plan, Trial, advice, with_trials
from tests import samples, tiny

FAULT = Fault("F1", "tool", 1, "hop", "The hop errs.", "Try another.", evidence={"hop": 0})
CRASH = Fault(
    "F1", "tool", 1, "tool_crash", "It fails.", "Simplify it. Other ways: a; b.", evidence={"status": "error"}
)
REQUEST = Request(source="model.onnx", dst="torch")


def measured(verdict: str = "crash", seconds: float = 0.0, way: str = "onnx>torch:onnx2torch") -> Measurement:
    """A source converted along a way; what differs has traces, as far as anybody looks."""
    route = routes.parse(way)
    hops = (HopResult("onnx", "torch", "onnx2torch", "1", {}, {}, "error", seconds=seconds),)
    source = Model("model.onnx", "onnx")
    data = Dataset.open(limit=4)
    comparison = {
        "crash": Comparison.crash("it fell"), "differ": samples.differing().comparison,
        "agree": samples.agreeing().comparison,
    }[verdict]  # fmt: skip
    pair = Pair(source, None, Conversion(route, hops, (source,)), data)
    return Measurement(pair, comparison, datetime.now(UTC))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Other ways, by the tool, and what comes of each; gives the list of those that were taken."""

    def make(**outcomes: Any) -> list[str]:
        taken: list[str] = []
        others = [routes.parse(way) for way in outcomes.pop("routes")]
        results = list(outcomes.pop("results"))

        def take(found: Measurement, way: str, request: Request, context: Context, rows: Any) -> Measurement:
            taken.append(way)
            result = results[len(taken) - 1]
            if isinstance(result, Exception):
                raise result
            return measured(result)

        monkeypatch.setattr(trials, "ways", lambda found, guilty: [Alternative(way, "") for way in others])
        monkeypatch.setattr(trials, "taken", take)
        monkeypatch.setattr(trials, "releases", lambda *arguments: iter(()))
        return taken

    return make


OPSETS = [f"torch>onnx:torch_onnx[opset={number}]" for number in (13, 17, 18, 19, 20)]


def tried(found: Measurement, plan: Plan, tmp_path: Path, fault: Fault = CRASH) -> Fault:
    (after,) = with_trials([fault], found, REQUEST, Context(Cache(tmp_path)), plan)
    return after


def outcomes(fault: Fault) -> list[str]:
    return [trial["outcome"] for trial in fault.evidence.get("trials", ())]


def test_each_way_says_what_came_of_it(world: Callable[..., list[str]], tmp_path: Path) -> None:
    world(routes=OPSETS, results=["agree", "differ", "crash", UsageError("no such option"), SubjectError("it died")])
    fault = tried(measured(), Plan(5), tmp_path)
    assert outcomes(fault) == ["avoids it", "differs", "crashes", "not tried", "crashes"]
    reasons = [trial["reason"] for trial in fault.evidence["trials"]]
    assert reasons == ["", "", "it fell", "no such option", "it died"]
    assert fault.evidence["tried_on"] == 2
    assert fault.suggestion.startswith(f"Simplify it. Convert by {OPSETS[0]}, which avoids it (tried on 2 pictures)")


def test_no_more_are_tried_than_asked_for(world: Callable[..., list[str]], tmp_path: Path) -> None:
    taken = world(routes=OPSETS, results=["differ"] * 5)
    assert len(outcomes(tried(measured(), Plan(2), tmp_path))) == len(taken) == 2


def test_unasked_the_first_that_avoids_it_is_enough(world: Callable[..., list[str]], tmp_path: Path) -> None:
    taken = world(routes=OPSETS, results=["differ", "agree", "agree"])
    assert outcomes(tried(measured(), UNASKED, tmp_path)) == ["differs", "avoids it"]
    assert taken == OPSETS[:2]


def test_what_would_take_long_is_named_and_not_tried(world: Callable[..., list[str]], tmp_path: Path) -> None:
    taken = world(routes=OPSETS, results=[])
    fault = tried(measured(seconds=40.0), UNASKED, tmp_path)
    assert outcomes(fault) == ["not tried"] * 3
    assert "--trials 3" in fault.evidence["trials"][0]["reason"]
    assert taken == []
    assert fault.suggestion.startswith(f"{CRASH.suggestion} None was tried: it takes some 44 s")


def test_an_environment_that_is_not_there_is_not_made(world: Callable[..., list[str]], tmp_path: Path) -> None:
    taken = world(routes=["onnx>keras:onnx2keras"], results=[])
    fault = tried(measured(), Plan(5), tmp_path)
    assert taken == []
    assert "convfault environment install" in fault.evidence["trials"][0]["reason"]


def test_options_that_change_values_are_left_out_first(world: Callable[..., list[str]], tmp_path: Path) -> None:
    keeping = "tf>tflite:tflite_converter[optimizations=[DEFAULT],unfold_batchmatmul=true]"
    taken = world(routes=[keeping, "tf>tflite:tflite_converter"], results=["differ", "differ"])
    tried(measured(), Plan(2), tmp_path)
    assert taken == ["tf>tflite:tflite_converter", keeping]


def test_nothing_is_tried_where_no_conversion_is_at_fault(world: Callable[..., list[str]], tmp_path: Path) -> None:
    taken = world(routes=OPSETS, results=["agree"])
    elsewhere = measured()
    elsewhere = replace(elsewhere, pair=replace(elsewhere.pair, conversion=None))
    assert tried(elsewhere, Plan(5), tmp_path) is CRASH
    assert tried(measured("agree"), Plan(5), tmp_path) is CRASH
    assert tried(measured(), Plan(0), tmp_path) is CRASH
    assert taken == []


def test_advice_tells_when_nothing_helps() -> None:
    none = [Trial("tf>onnx:tf2onnx", "", "differs, too"), Trial("b", "", "not tried")]
    said = advice("Try a or b.", none, 6)
    assert said == (
        "Try another release. Of the other ways that were tried none avoids it: tf>onnx:tf2onnx differs, too."
    )
    assert advice("Try a or b.", [*none[1:], Trial("c", "", "not tried", "no tool")], 6) == "Try a or b."
    two = [Trial("a", "", "avoids it"), Trial("c", "", "crashes"), Trial("b", "", "avoids it")]
    assert advice("Try a.", two, 1) == "Convert by a, which avoids it (tried on 1 picture), as does b."


def test_a_real_conversion_is_tried_without_the_option_that_rounds_it(tmp_path: Path) -> None:
    for name in ("tensorflow", "tvm", "ai_edge_litert"):
        pytest.importorskip(name)
    np.savez(tmp_path / "data.npz", images=tiny.pictures(8, seed=5))
    report = convfault.localize(
        tiny.keras_model(tmp_path),
        trials=1,
        dst="tflite",
        data=str(tmp_path / "data.npz"),
        tool_options=("tflite_converter.optimizations=DEFAULT",),
        context=Context(Cache(tmp_path / "cache")),
    )
    (fault,) = [fault for fault in report.faults if fault.kind == "tool"]
    (trial,) = fault.evidence["trials"]
    assert (trial["way"], trial["outcome"]) == ("keras>tflite:tflite_converter", "avoids it")
    assert trial["max_abs_error"] < 1e-5
    assert fault.suggestion.startswith("Convert by keras>tflite:tflite_converter, which avoids it (tried on 6")
