"""How commands are timed and weighed, for scripts/benchmark."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / ".venv/bin/python"
CONVFAULT = [str(PYTHON), "-m", "convfault"]


def machine() -> dict[str, Any]:
    return {"cores": len(os.sched_getaffinity(0)), "python": platform.python_version(), "processor": platform.machine()}


def publish(name: str, results: Mapping[str, Any], page: str) -> None:
    """Write benchmarks/``name``.json, without this machine's folders, and .md; print the page."""
    text = json.dumps(results, indent=1).replace(f"{ROOT}/", "").replace(str(Path.home()), "~")
    (ROOT / f"benchmarks/{name}.json").write_text(text + "\n")
    (ROOT / f"benchmarks/{name}.md").write_text(page)
    print(page)


def timed(command: list[str], **environment: str) -> tuple[float, subprocess.CompletedProcess[str]]:
    begun = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, cwd=ROOT)
    if done.returncode not in {0, 1}:
        raise SystemExit(done.stderr)
    return time.monotonic() - begun, done


def bare_passes(report: str | Path, **environment: str) -> tuple[float, dict[str, float]]:
    """Seconds of a bare script that runs both models of a diff's report, with its imports; and of its loops."""
    whole, done = timed([str(PYTHON), str(ROOT / "scripts/bare.py"), str(report)], **environment)
    return whole, json.loads(done.stdout.splitlines()[-1])


def peak_megabytes(command: list[str], **environment: str) -> float:
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, env={**os.environ, **environment})
    peak, over = 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not over.wait(0.05):
            peak = max(peak, tree_megabytes(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    process.wait()
    over.set()
    watcher.join()
    return peak


def tree_megabytes(pid: int) -> float:
    """Proportional set size of a process and all that it started, so that shared pages count once."""
    total = 0.0
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(tree_megabytes(int(child)) for child in (task / "children").read_text().split())
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) / 1000
    except OSError:
        pass  # it has ended
    return total
