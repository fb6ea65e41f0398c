"""Writes ``.keras`` archives that are the same whenever they are written."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any


def save_plainly(model: Any, path: Path) -> None:
    """Saves a model, without the date and the numbers of objects in memory that Keras writes."""
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    metadata = json.loads(parts["metadata.json"])
    metadata["date_saved"] = "2000-01-01@00:00:00"
    parts["metadata.json"] = json.dumps(metadata).encode()
    config = json.loads(parts["config.json"], object_hook=_without_numbers)
    parts["config.json"] = json.dumps(config).encode()
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name in sorted(parts):
            archive.writestr(zipfile.ZipInfo(name), parts[name])
    path.write_bytes(held.getvalue())


def _without_numbers(part: dict[str, Any]) -> dict[str, Any]:
    part.pop("shared_object_id", None)
    return part
