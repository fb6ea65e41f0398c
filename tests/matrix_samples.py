"""Matrices as ``convfault matrix`` would write them, for the tests of what shows them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from convfault.comparison import AGREE, CRASH, DIFFER
from convfault.matrix.cells import (
    BUILD,
    CONVERT,
    DEFECT,
    LOAD,
    MEMORY,
    NO_ROUTE,
    RUN,
    TIMEOUT,
    Cell,
    CellOutcome,
    Matrix,
)
from convfault.matrix.regress import Regression, compare
from tests.samples import NASTY

MODELS = {"mobilenetv2": 9_000_000, "inceptionv3": 87_500_000, "resnet101": 178_000_000}
"""The models with the size of their files."""
FRAMEWORKS = ("torch", "keras", "tf", "tflite")

ROUTES: dict[tuple[str, str], tuple[str, ...]] = {
    ("torch", "keras"): ("torch>keras:nobuco", "torch>onnx:torch.onnx>keras:onnx2keras"),
    ("torch", "tf"): ("torch>onnx:torch.onnx>tf:onnx2tf", "torch>onnx:torch.onnx[opset=13]>tf:onnx2tf"),
    ("torch", "tflite"): ("torch>tflite:litert_torch", "torch>onnx:torch.onnx>tflite:onnx2tf"),
    ("keras", "torch"): (
        "keras>onnx:tf2onnx>torch:onnx2torch",
        "keras>onnx:keras_export>torch:onnx2torch",
        "keras>tf:keras_export>onnx:tf2onnx>torch:onnx2torch",
    ),
    ("keras", "tf"): ("keras>tf:keras_export",),
    ("keras", "tflite"): (
        "keras>tflite:tflite_converter",
        "keras>tflite:tflite_converter[optimizations=DEFAULT]",
        "keras>tf:keras_export>tflite:tflite_converter",
    ),
    ("tf", "torch"): ("tf>onnx:tf2onnx>torch:onnx2torch",),
    ("tf", "keras"): ("tf>onnx:tf2onnx>keras:onnx2keras",),
    ("tf", "tflite"): ("tf>tflite:tflite_converter", "tf>tflite:tflite_converter[optimizations=DEFAULT]"),
    ("tflite", "torch"): ("tflite>onnx:tf2onnx>torch:onnx2torch", "tflite>onnx:tflite2onnx>torch:onnx2torch"),
    ("tflite", "keras"): ("tflite>onnx:tf2onnx>keras:onnx2keras",),
    ("tflite", "tf"): ("",),
}
"""The routes that each pair is tried by; an empty one: none is known."""

VERSIONS = {
    "torch.onnx": "2.13.0",
    "onnx2torch": "1.5.15",
    "tf2onnx": "1.17.0",
    "tflite_converter": "2.21.0",
    "keras_export": "3.15.1",
    "onnx2keras": "0.0.25",
    "onnx2tf": "1.29.24",
    "litert_torch": "0.10.0",
    "nobuco": "0.17.0",
    "tflite2onnx": "0.4.1",
}

FAILURES: tuple[tuple[str, dict[str, Any]], ...] = (
    (
        "keras:onnx2keras",
        {
            "status": CRASH,
            "stage": LOAD,
            "cause": "onnx2keras: Lambda layer cannot be read back (load)",
            "message": "Requested the deserialization of a `Lambda` layer whose `function` is a Python lambda.",
            "details": "Traceback (most recent call last):\n  ...\nValueError: Requested the deserialization",
        },
    ),
    (
        "tflite2onnx",
        {
            "status": CRASH,
            "stage": CONVERT,
            "cause": "tflite2onnx: SQUARED_DIFFERENCE not supported",
            "message": "Unsupported TFLite OP: 99 SQUARED_DIFFERENCE!",
        },
    ),
    (
        "torch.onnx>tf:onnx2tf",
        {
            "status": TIMEOUT,
            "stage": CONVERT,
            "cause": "onnx2tf: no end in time",
            "message": "onnx2tf: no end after 1800 s",
        },
    ),
)
"""Which tools fail in the sample, by a part of the route, and how."""


def full() -> Matrix:
    """Three models, all twelve pairs: every way a cell can end."""
    outcomes = tuple(_outcome(cell, number) for number, cell in enumerate(_cells()))
    return Matrix(
        command="matrix",
        convfault_version="0.1.0",
        started="2026-01-05T10:30:00+00:00",
        outcomes=outcomes,
        seconds={"total": 2052.0, "cells": sum(outcome.seconds for outcome in outcomes)},
        models=dict.fromkeys(MODELS),
        dataset={"name": "fractals", "images": 50, "seed": 0, "sha256": "e1" * 32},
        settings={"weights": "calibrated", "tolerance": None, "tool_options": []},
        versions={"torch": "2.13.0", "tensorflow": "2.21.0", "onnx2tf": "1.29.24"},
        environment={"python": "3.11.9", "platform": "Linux-6.1-x86_64", "processor": "2 cores"},
        command_line="convfault matrix --html matrix.html",
    )


def agreeing() -> Matrix:
    """One model's route that does what it should."""
    matrix = full()
    return matrix.with_outcomes([next(outcome for outcome in matrix.outcomes if outcome.status == AGREE)])


def namesakes() -> Matrix:
    """Two files of one name in two folders."""
    whole = agreeing()
    (only,) = whole.outcomes
    models = [f"/nets/{place}/model.onnx" for place in "ab"]
    outcomes = tuple(replace(only, cell=replace(only.cell, model=model)) for model in models)
    return replace(whole, outcomes=outcomes, models=dict.fromkeys(models, "ab" * 32))


def own() -> Matrix:
    """A user's model file that has no classes, so that errors stand in the place of labels."""
    path = "models/super resolution.keras"
    found = [outcome for outcome in full().outcomes if outcome.cell.model == "mobilenetv2"]
    outcomes = [
        replace(outcome, cell=replace(outcome.cell, model=path), top1_disagreement=None, top5_disagreement=None)
        for outcome in found
        if outcome.cell.source == "keras"
    ]
    broken = replace(outcomes[0], status=DIFFER, max_abs_error=None, kendall_tau=None, message="NaN on one side")
    return replace(full(), outcomes=(broken, *outcomes[1:]), models={path: "ab" * 32}, seconds={})


def empty() -> Matrix:
    """Nothing was asked for, or nothing was left of it."""
    return replace(full(), outcomes=(), models={}, seconds={})


def hostile() -> Matrix:
    """Names, causes, messages and places of reports as an attacker would choose them."""
    cell = Cell(NASTY, "torch", "=keras", NASTY, NASTY)
    crash = CellOutcome(cell, CRASH, CONVERT, NASTY, NASTY, 0, NASTY, "=cmd|' /C calc'!A1\n" + NASTY, NASTY)
    sound = _outcome(Cell(NASTY, "torch", "=keras", "@" + NASTY), 3)
    sound = replace(sound, versions={NASTY: NASTY}, report="javascript:alert(1)//" + NASTY)
    away = replace(sound, cell=replace(cell, route="+second"), report="//evil.example/page.json")
    return replace(
        full(),
        outcomes=(crash, sound, away),
        models={NASTY: NASTY},
        dataset={"name": NASTY},
        settings={NASTY: [NASTY]},
        versions={NASTY: NASTY},
        environment={NASTY: NASTY},
        command_line=NASTY,
        started=NASTY,
    )


def regressed() -> Regression:
    """The sample after new versions of its converters: every kind of change."""
    before, now = full(), list(full().outcomes)
    by_status = {status: [i for i, o in enumerate(now) if o.status == status] for status in (AGREE, DIFFER, CRASH)}
    first, second, third, fourth, *_ = by_status[AGREE]
    failure = now[by_status[CRASH][0]]
    now[first] = replace(failure, cell=now[first].cell)
    now[second] = replace(now[second], status=DIFFER, top1_disagreement=0.3, max_abs_error=0.2, message="off by 0.2")
    now[third] = replace(now[third], cell=replace(now[third].cell, route="tf>new:tool"))
    now[by_status[DIFFER][0]] = replace(now[fourth], cell=now[by_status[DIFFER][0]].cell)
    now[by_status[CRASH][1]] = replace(now[fourth], cell=now[by_status[CRASH][1]].cell)
    now[by_status[CRASH][2]] = replace(now[by_status[CRASH][2]], cause="onnx2keras: another cause")
    return compare(before, replace(before, outcomes=tuple(now), started="2026-02-05T10:30:00+00:00"))


def _cells() -> Iterator[Cell]:
    for model in MODELS:
        for source in FRAMEWORKS:
            for target in FRAMEWORKS:
                for route in ROUTES.get((source, target), ()):
                    yield Cell(model, source, target, route)


def _outcome(cell: Cell, number: int) -> CellOutcome:
    """The outcome that the sample gives a cell; ``number`` varies its figures."""
    if not cell.route:
        message = "no converter leads from tflite to tf; convfault list converters shows all"
        return CellOutcome(cell, NO_ROUTE, cause="no converter leads from tflite to tf", message=message)
    failure = next((values for part, values in FAILURES if part in cell.route), None)
    base = CellOutcome(
        cell,
        AGREE,
        seconds=18.0 + number % 7 * 6.5,
        conversion_seconds=4.0 + number % 5 * 7.3,
        peak_megabytes=900.0 + 37 * number,
        versions=_versions(cell.route),
        cached=number % 3 == 0,
    )
    if failure is not None:
        tool = failure["cause"].partition(":")[0]
        return replace(base, **failure, tool=tool, tool_version=VERSIONS[tool], hop=cell.route.count(">") - 1)
    return _special(base) or _compared(base, number)


def _special(base: CellOutcome) -> CellOutcome | None:
    """The few cells that end in a way of their own."""
    cell = base.cell
    if (cell.model, cell.source, cell.target) == ("resnet101", "tf", "torch"):
        message = "a process used more than 12,000 MB"
        failed = replace(base, status=MEMORY, stage=CONVERT, tool="tf2onnx", tool_version="1.17.0", hop=0)
        return replace(failed, cause="tf2onnx: out of memory", message=message)
    if (cell.model, cell.route) == ("inceptionv3", "torch>keras:nobuco"):
        message = "AssertionError: the layouts of 'conv2d_5' disagree"
        details = "Traceback (most recent call last):\n  ...\n" + message
        return replace(base, status=DEFECT, cause=f"defect of convfault: {message}", message=message, details=details)
    if (cell.model, cell.route) == ("resnet101", "torch>tflite:litert_torch"):
        failed = replace(base, status=CRASH, stage=RUN, tool="litert_torch", tool_version="0.10.0", hop=0)
        return replace(
            failed, cause="litert_torch: killed by SIGSEGV (run)", message="the process was killed by SIGSEGV"
        )
    if (cell.model, cell.source) == ("resnet101", "keras") and cell.target == "torch" and "tf2onnx" in cell.route:
        return replace(base, status=MEMORY, stage=BUILD, cause="out of memory", message="MemoryError")
    return None


def _compared(base: CellOutcome, number: int) -> CellOutcome:
    """Both sides answered: quantized weights and one of the longer routes flip labels."""
    cell, flips = base.cell, 0.0
    if "DEFAULT" in cell.route:
        flips = {"mobilenetv2": 0.48, "inceptionv3": 0.14, "resnet101": 0.06}.get(cell.model, 0.5)
    elif cell.source == "tflite" and cell.model != "mobilenetv2":
        flips = 0.02
    elif (cell.model, cell.source, cell.target) == ("inceptionv3", "tf", "torch"):
        flips = 0.92
    size = MODELS.get(cell.model, 1_000_000) // (4 if "DEFAULT" in cell.route else 1)
    return replace(
        base,
        status=DIFFER if flips else AGREE,
        message=f"output 'predictions' is off by up to {flips / 3:.3g}" if flips else "",
        top1_disagreement=flips,
        top5_disagreement=min(1.0, 1.5 * flips),
        kendall_tau=1.0 - 1.1 * flips,
        max_abs_error=flips / 3 or 2.1e-7,
        tolerance=1.8e-5,
        images=50,
        size_bytes=size + 1000 * number,
        report=f"reports/{cell.key}.json",
    )


def _versions(route: str) -> dict[str, str]:
    tools = (hop.partition(":")[2].partition("[")[0] for hop in route.split(">")[1:])
    return {tool: VERSIONS[tool] for tool in tools if tool in VERSIONS}
