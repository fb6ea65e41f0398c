"""How much memory a cell is expected to take, and how much there is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

WORKER_MEGABYTES = 6144.0
"""What one worker may expect at most, so that two stay under 12 GiB."""
SHARE = 0.8
UNKNOWN_MODEL = 100.0

MODELS: Mapping[str, float] = {"mobilenetv2": 14.0, "inceptionv3": 96.0, "resnet101": 179.0}
"""Megabytes of the named models' float32 weights."""

RUNS: Mapping[str, tuple[float, float]] = {
    "torch": (600.0, 8.0),
    "keras": (750.0, 20.0),
    "tf": (750.0, 20.0),
    "tflite": (300.0, 6.0),
    "onnx": (300.0, 6.0),
}
"""Framework → megabytes of a session at rest, and for each megabyte of the model; measured on the three."""


def session(framework: str, model: float) -> float:
    """Megabytes of one opened model."""
    base, factor = RUNS.get(framework, (700.0, 20.0))
    return base + factor * model


def budget(jobs: int) -> float:
    """Megabytes that all cells together may expect by default: most of what is free, but so much a worker at most."""
    return min(SHARE * available(), jobs * WORKER_MEGABYTES)


def available() -> float:
    """Megabytes free to this process now: of the machine, or of the container that it is in."""
    return min(_machine(), _container())


def _machine() -> float:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found = dict(line.split(":", 1) for line in lines)
        return int(found["MemAvailable"].split()[0]) / 1024
    except (OSError, KeyError, ValueError):  # not Linux: half of what is built in
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20 / 2


def _container() -> float:
    """Of the control group: its limit less what it uses; files that the kernel may drop at once are free."""
    root = Path("/sys/fs/cgroup")
    try:
        limit, used = ((root / name).read_text() for name in ("memory.max", "memory.current"))
        stat = dict(line.split() for line in (root / "memory.stat").read_text().splitlines())
        return (int(limit) - int(used) + int(stat.get("inactive_file", 0))) / 2**20
    except (OSError, ValueError):  # not in a container, or without a limit
        return float("inf")
