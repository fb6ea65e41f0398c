"""The calibrated models know the embedded set's classes, so that a flipped label means something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convfault.cache import Cache
from convfault.dataset import Dataset
from convfault.model import Model
from convfault.zoo import build

pytestmark = pytest.mark.e2e
PICTURES = 100


def accuracy(model: Model, cache: Cache, answer: Any) -> float:
    data = Dataset.open(limit=PICTURES)
    assert model.preprocessing is not None
    batches = data.prepare(model.preprocessing, cache)
    found = []
    for start in range(0, PICTURES, 20):
        pixels = batches.read(start, start + 20)["pictures"]
        found.append(answer(model.preprocessing.tensor(pixels)).argmax(axis=1))
    return float((np.concatenate(found) == np.array(data.labels)).mean())


def test_mobilenetv2_in_torch_knows_held_out_pictures(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    cache = Cache(tmp_path)
    model = build("mobilenetv2", "torch", cache=cache)
    module = torch.export.load(model.path).module()
    assert accuracy(model, cache, lambda values: module(torch.from_numpy(values)).detach().numpy()) >= 0.9
    assert build("MobileNet_V2", "torch", cache=cache).path == model.path


def test_mobilenetv2_in_keras_knows_held_out_pictures(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    cache = Cache(tmp_path)
    model = build("mobilenetv2", "keras", cache=cache)
    assert accuracy(model, cache, keras.models.load_model(model.path).predict_on_batch) >= 0.9
