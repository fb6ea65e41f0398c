"""Reports as the commands would write them, for the tests of what shows them."""

from __future__ import annotations

import io
import random
from dataclasses import replace
from typing import Any

from PIL import Image, ImageDraw

from convfault.comparison import Comparison, OutputComparison, Tolerance, WorstPicture
from convfault.fault import Fault
from convfault.report import Report

NASTY = 'a<script>alert(1)</script>"><img src=x onerror=alert(2)>[bold red]b[/bold red]\x1b[31m\x00\u202e\udc80'
"""A name as a hostile model file may hold it: markup of HTML, SVG and rich, terminal and Unicode controls."""

PICTURES = tuple(f"class_{number:02}/{number * 17 % 50:04}.png" for number in range(6))


def agreeing() -> Report:
    """A sound conversion."""
    counts = (0, 0, 3, 21, 88, 126, 70, 12, 0, 0)
    return _report(_comparison(0.0, 2.1e-7, 1.8e-5, counts).judged())


def differing() -> Report:
    """A quantized conversion with many flips."""
    counts = (0, 0, 0, 0, 9, 31, 77, 121, 66, 16)
    options = {"optimizations": ["DEFAULT"]}
    report = _report(_comparison(0.134375, 0.213, 1.8e-5, counts, top=0).judged(), options)
    return replace(
        report,
        assumptions=("preprocessing: scale 1/255, no mean", "preprocessing: layout NHWC, from the shape of the input"),
    )


def crashing() -> Report:
    """A conversion that dies on its second hop."""
    message = "No Adapter to version 17 for ReduceMean"
    log = "\n".join(f"INFO tool: line {number} of what the converter printed" for number in range(40))
    hops = (
        hop("tf", "onnx", "tf2onnx", "1.17.0", seconds=21.4),
        hop(
            "onnx",
            "torch",
            "onnx2torch",
            "1.5.15",
            status="crash",
            message=message,
            log=f"{log}\nRuntimeError: {message}",
        ),
    )
    comparison = Comparison.crash(f"the conversion by onnx2torch failed: {message}")
    target = {"framework": "torch", "path": None, "sha256": None, "versions": {"torch": "2.13.0"}}
    return replace(_report(comparison), route=hops, target=target, thumbnails={})


def broken() -> Report:
    """A target whose answers are NaN on some pictures, and one output too few."""
    comparison = _comparison(0.4, None, 1.8e-5, (0, 2, 5, 9), top=0)
    lone = replace(comparison.outputs[0], name="boxes", target_name="", target_shape=(), comparable=False)
    lone = replace(lone, max_abs_error=None, mean_abs_error=None, cosine=None)
    first = replace(comparison.outputs[0], nonfinite_target=4100, unmatched=4100)
    worst = tuple(replace(p, target_top=((0, None), (1, None)), max_abs_error=None) for p in comparison.worst)
    histogram = {**comparison.histogram, "zero": (3.0,), "unmatched": (41.0,)}
    comparison = replace(comparison, outputs=(first, lone), worst=worst, nonfinite=4100, histogram=histogram)
    return _report(comparison.judged())


def hostile() -> Report:
    """Names, logs, paths and classes as an attacker would choose them."""
    report = crashing()
    bad_hop = {**report.route[-1], "message": NASTY, "log": NASTY, "tool_version": NASTY, "options": {NASTY: NASTY}}
    worst = tuple(
        replace(picture, image=NASTY + str(number)) for number, picture in enumerate(differing().comparison.worst)
    )
    outputs = (replace(differing().comparison.outputs[0], name=NASTY, target_name=NASTY),)
    return replace(
        report,
        source={**report.source, "name": NASTY, "path": NASTY, "versions": {NASTY: NASTY}},
        route=(report.route[0], bad_hop),
        dataset={**report.dataset, "name": NASTY, "class_names": [NASTY] * 50},
        comparison=replace(report.comparison, reasons=(NASTY,), worst=worst, outputs=outputs),
        assumptions=(NASTY,),
        faults=(replace(fault(), explanation=NASTY, source_location=NASTY, evidence={NASTY: NASTY}),),
        command_line=NASTY,
        thumbnails={
            NASTY + "0": b'\x89PNG\r\n\x1a\n"><script>alert(3)</script>',
            NASTY + "1": b"<svg onload=alert(4)>",
        },
    )


def repaired() -> Report:
    """A report of ``repair``: faults, edits, and the mended file."""
    report = differing()
    first = fault()
    second = replace(
        first, id="f2", kind="hyperparameters", rank=2, attribute="padding", expected=[0, 1, 0, 1], actual=[1, 0, 1, 0]
    )
    second = replace(second, cause="same-padding", explanation="The padding is on the other side.", effect={})
    return replace(
        report,
        command="repair",
        attribution={
            "source_native_vs_tvm": 0.0,
            "target_native_vs_tvm": 0.0,
            "tvm_vs_tvm": 0.13,
            "blame": "conversion",
        },
        faults=(first, second),
        repairs=(
            edit("restore conv2d_5/kernel to float32"),
            edit(
                "set the padding of conv2d_7 to [0, 1, 0, 1]",
                fault_id="f2",
                strategy="hyperparameters",
                accepted=False,
                reason="the answers agree without it",
            ),
        ),
        repaired=mended(agreeing().comparison),
    )


def edit(words: str, **more: Any) -> dict[str, Any]:
    """The record of an edit that was tried; ``more`` replaces its values."""
    record = {"fault_id": "f1", "strategy": "parameters", "round": 1, "edit": words, "accepted": True}
    record |= {"reason": "without it the answers differ by more than the tolerance", "max_abs_error_left": 2.1e-7}
    return {**record, "top1_disagreement_left": 0.0, "size_bytes": None, **more}


def mended(comparison: Comparison, **more: Any) -> dict[str, Any]:
    """The record of a file that a repair wrote; ``more`` replaces its values."""
    record = {
        "path": "repaired.tflite",
        "framework": "tflite",
        "format": "tflite",
        "sha256": "ab" * 32,
        "size_bytes": 96_000_000,
        "size_bytes_before": 24_110_020,
        "goal": "agree",
        "reached": True,
        "comparison": comparison.to_record(),
        "held_out": {"images": 160, "top1_disagreement": 0.0, "max_abs_error": 2.4e-7, "reached": True},
        "changes": [{"place": "conv2d_5/Conv2D1", "attribute": "kernel", "before": "int8", "after": "float32"}],
        "curve": [],
        "patch": "repaired.patch.json",
        "notes": [],
    }
    return {**record, **more}


def fault() -> Fault:
    """The weights of one layer, rounded."""
    return Fault(
        id="f1",
        kind="parameters",
        rank=1,
        cause="int8-rounding",
        explanation="The kernel of conv2d_5 is stored in 8 bits, one scale for each output channel.",
        suggestion="Restore it to float32, or quantize with more pictures.",
        source_location="inception_v3/conv2d_5/Conv2D",
        target_location="inception_v3/activation_5/Relu;conv2d_5/Conv2D1",
        attribute="kernel",
        expected=0.01874,
        actual=0.0196,
        evidence={"max_abs_error": 0.0041, "elements": 82944},
        effect={"top1_disagreement_before": 0.134375, "top1_disagreement_after": 0.01, "max_abs_error_after": 0.02},
        confidence=0.98,
    )


def hop(source: str, target: str, tool: str, version: str, **more: Any) -> dict[str, Any]:
    """The record of one hop; ``more`` replaces its values."""
    record = {"from": source, "to": target, "tool": tool, "tool_version": version, "options": {}, "seconds": 34.2}
    return {**record, "status": "ok", "log": "", "cached": False, "message": None, **more}


def thumbnail(seed: int, side: int = 160) -> bytes:
    """A PNG that looks like the embedded set's pictures: points of an iterated function system."""
    generator = random.Random(seed)
    maps = [[generator.uniform(-0.75, 0.75) for _ in range(6)] for _ in range(3)]
    colour = tuple(generator.randint(90, 255) for _ in range(3))
    picture, point = Image.new("RGB", (side, side), (18, 18, 24)), (0.0, 0.0)
    draw = ImageDraw.Draw(picture)
    for _ in range(6000):
        a, b, c, d, e, f = generator.choice(maps)
        point = (a * point[0] + b * point[1] + e, c * point[0] + d * point[1] + f)
        draw.point(tuple(int(side / 2 + value * side / 5) for value in point), fill=colour)
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


def _comparison(
    flips: float, error: float | None, tolerance: float, counts: tuple[int, ...], top: int = -5
) -> Comparison:
    edges = tuple(10.0 ** (top + (number - len(counts)) / 2) for number in range(len(counts) + 1))
    output = OutputComparison(
        name="predictions",
        target_name="StatefulPartitionedCall:0",
        shape=(50,),
        target_shape=(50,),
        comparable=True,
        max_abs_error=error,
        mean_abs_error=error and error / 40,
        cosine=1.0 if flips == 0 else 0.9631,
        largest_value=0.9981,
        nonfinite_source=0,
        nonfinite_target=0,
        unmatched=0,
        tolerance=Tolerance(tolerance, "derived", noise=tolerance / 8, factor=8.0, images=32),
    )
    return Comparison(
        verdict="agree",
        images=320,
        top1_disagreement=flips,
        top5_disagreement=min(1.0, flips * 2.5),
        kendall_tau=1.0 if flips == 0 else 0.8127,
        max_abs_error=output.max_abs_error,
        mean_abs_error=output.mean_abs_error,
        cosine=output.cosine,
        accuracy={"source": 0.934375, "target": 0.934375 - flips},
        worst=tuple(_worst(number, flips, error) for number in range(len(PICTURES))),
        outputs=(output,),
        histogram={"edges": edges, "counts": tuple(float(c) for c in counts), "zero": (0.0,), "unmatched": (0.0,)},
    )


def _worst(number: int, flips: float, error: float | None) -> WorstPicture:
    label = number * 7 % 50
    source = tuple(((label + step * 11) % 50, round(0.71 / (1 + 1.9 * step), 4)) for step in range(5))
    classes, scores = [c for c, _ in source], [s for _, s in source]
    target = (
        tuple(zip([classes[1], classes[0], *classes[2:]], [0.52, 0.31, *scores[2:]], strict=True)) if flips else source
    )
    return WorstPicture(PICTURES[number], number * 17, error and error / (1 + number / 4), source, target, label)


def _report(comparison: Comparison, options: dict[str, Any] | None = None) -> Report:
    preprocessing = {"size": [299, 299], "channels": "rgb", "layout": "NHWC", "mean": [127.5] * 3, "std": [127.5] * 3}
    source = {
        "framework": "tf",
        "name": "inceptionv3",
        "format": "saved_model",
        "path": "/home/someone/.cache/convfault/models/0f3a/inceptionv3",
        "sha256": "5d" * 32,
        "size_bytes": 96_344_112,
        "versions": {"tensorflow": "2.21.0", "numpy": "2.3.1"},
        "preprocessing": preprocessing,
    }
    target = {
        **source,
        "framework": "tflite",
        "format": "tflite",
        "sha256": "c4" * 32,
        "size_bytes": 24_110_020 if options else 95_260_884,
    }
    target |= {
        "path": "/home/someone/.cache/convfault/conversions/77b1/model.tflite",
        "versions": {"ai-edge-litert": "2.1.0"},
    }
    return Report(
        command="diff",
        convfault_version="0.1.0",
        started="2026-01-05T10:30:00+00:00",
        source=source,
        target=target,
        comparison=comparison,
        seconds={"prepare": 36.1, "decode": 4.2, "run": 29.7, "compare": 0.3},
        route=(hop("tf", "tflite", "tflite_converter", "2.21.0", options=options or {}),),
        dataset={"name": "fractals", "images": 320, "seed": 0, "sha256": "e1" * 32, "class_names": []},
        command_line="convfault diff --src tf --dst tflite --model inceptionv3 --html report.html",
        environment={"python": "3.11.9", "platform": "Linux-6.1-x86_64", "processor": "4 cores"},
        thumbnails={name: thumbnail(number) for number, name in enumerate(PICTURES)} if comparison.worst else {},
    )
