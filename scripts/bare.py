"""Both runtimes of a diff alone, as a user would write it: open, loop over the decoded batches, keep the answers.

Usage: bare.py REPORT, the JSON of a diff from a SavedModel to TFLite; prints seconds as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def bare_loops(report: dict[str, Any]) -> dict[str, float]:
    """Seconds of the loops, over the same pictures as the report's."""
    import numpy as np

    from convfault.batches import Batches
    from convfault.cache import Cache
    from convfault.dataset import Dataset
    from convfault.frameworks import FRAMEWORKS
    from convfault.preprocessing import Preprocessing

    preprocessing = Preprocessing.from_record(report["source"]["preprocessing"])
    data: Batches = Dataset.open(None, report["comparison"]["images"], 0).prepare(preprocessing, Cache.default())
    tensors = [preprocessing.tensor(data.read(i, i + 16)["pictures"]) for i in range(0, data.count, 16)]
    pictures = np.concatenate(tensors)
    source = _saved_model_loop(report["source"]["path"], pictures, FRAMEWORKS["tf"].batch_size)
    target = _tflite_loop(report["target"]["path"], pictures, FRAMEWORKS["tflite"].batch_size)
    return {"loops": source + target, "source": source, "target": target}


def _saved_model_loop(path: str, pictures: Any, size: int) -> float:
    import tensorflow as tf

    function = tf.saved_model.load(path).signatures["serving_default"]
    name = next(iter(function.structured_input_signature[1]))
    function(**{name: tf.constant(pictures[:size])})
    begun = time.monotonic()
    answers = [
        next(iter(function(**{name: tf.constant(pictures[i : i + size])}).values())).numpy()
        for i in range(0, len(pictures), size)
    ]
    assert sum(map(len, answers)) == len(pictures)
    return time.monotonic() - begun


def _tflite_loop(path: str, pictures: Any, size: int) -> float:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path, num_threads=len(os.sched_getaffinity(0)))
    entry, exit_ = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    begun, shape, answers = time.monotonic(), None, []
    for i in range(0, len(pictures), size):
        batch = pictures[i : i + size]
        if batch.shape != shape:
            interpreter.resize_tensor_input(entry, batch.shape)
            interpreter.allocate_tensors()
            shape = batch.shape
        interpreter.set_tensor(entry, batch)
        interpreter.invoke()
        answers.append(interpreter.get_tensor(exit_))
    assert sum(map(len, answers)) == len(pictures)
    return time.monotonic() - begun


if __name__ == "__main__":
    print(json.dumps(bare_loops(json.loads(Path(sys.argv[1]).read_text()))))
