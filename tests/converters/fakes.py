"""Converters that do one thing each, mostly wrong, for the tests of what becomes of it."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convfault.converters.base import Converter, Option
from convfault.converters.route import Hop, Route
from convfault.errors import TrustError
from convfault.model import Model


def converter(does: str, source: str = "onnx", target: str = "torch", **changes: Any) -> Converter:
    """A converter whose function is the one of this file that is called ``does``."""
    target_format, filename = {"torch": ("pt2", "model.pt2"), "onnx": ("onnx", "model.onnx")}[target]
    source_format = {"torch": "pt2", "onnx": "onnx"}[source]
    values = {
        "tool": does,
        "source": source,
        "target": target,
        "formats": (source_format,),
        "target_format": target_format,
        "filename": filename,
        "package": "numpy",
        "convert": f"tests.converters.fakes:{does}",
        "extra": "all",
        "options": {"strength": Option("how much", 1, kind="integer")},
    }
    return Converter(**{**values, **changes})


def route(*converters: Converter, **options: Any) -> Route:
    return Route(tuple(Hop(item, options) for item in converters))


def copies(source: Model, target: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Write something that begins like ONNX does, and count the call beside the source."""
    with open(Path(source.path).parent / "calls.txt", "a") as calls:
        calls.write(f"{json.dumps(options)}\n")
    Path(target).write_bytes(b"\x08\x07" + str(options["strength"]).encode())
    return {"layout": "NCHW", "notes": ["it was copied"]}


def aborts(source: Model, target: str, options: Mapping[str, Any]) -> None:
    print("about to fall", flush=True)
    copies(source, target, options)
    os.abort()


def exits(source: Model, target: str, options: Mapping[str, Any]) -> None:
    print("giving up", file=sys.stderr, flush=True)
    os._exit(7)


def sleeps(source: Model, target: str, options: Mapping[str, Any]) -> None:
    copies(source, target, options)
    time.sleep(60)


def raises(source: Model, target: str, options: Mapping[str, Any]) -> None:
    copies(source, target, options)
    raise NotImplementedError("\x1b[96mcannot convert:\x1b[0m\n\n  Swish of opset 99\n  at node 3")


def runs_out_of_memory(source: Model, target: str, options: Mapping[str, Any]) -> None:
    raise MemoryError("Unable to allocate 8 GiB")


def grows(source: Model, target: str, options: Mapping[str, Any]) -> None:
    kept = [bytearray(os.urandom(1 << 20)) for _ in range(600)]
    time.sleep(20)
    print(len(kept))


def fills_the_disk(source: Model, target: str, options: Mapping[str, Any]) -> None:
    raise RuntimeError("write failed: No space left on device")


def writes_nothing(source: Model, target: str, options: Mapping[str, Any]) -> None:
    copies(source, str(Path(source.path).with_name("elsewhere")), options)


def writes_an_empty_file(source: Model, target: str, options: Mapping[str, Any]) -> None:
    Path(target).touch()


def writes_garbage(source: Model, target: str, options: Mapping[str, Any]) -> None:
    Path(target).write_bytes(b"this is no archive")


def distrusts(source: Model, target: str, options: Mapping[str, Any]) -> None:
    raise TrustError(f"{source.path} holds a Lambda layer: add --trust")


def measures(source: Model, target: str, options: Mapping[str, Any]) -> None:
    Path(target).write_bytes(b"\x08" + json.dumps(options["calibration"]["preprocessing"]).encode())
