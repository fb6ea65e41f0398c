"""Writes what a converter's maintainers need: a small model, a script with their tool alone, an issue's text."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from convfault.errors import UsageError
from convfault.localization.suspect import Suspect
from convfault.localization.tool import snippets
from convfault.model import Model
from convfault.relax.graph import Array

SCRIPT, ISSUE, ARRAYS = "reproduce.py", "issue.md", "inputs.npz"
FORMATS = {"keras_h5": "keras"}
WRITES = {"onnx": ".onnx", "torch": ".pt2", "tflite": ".tflite", "keras": ".keras", "tf": "_saved_model"}


@dataclass(frozen=True)
class Subject:
    """What is to be shown: the model, the record of the hop that errs, and how it errs.

    ``inputs``, ``wanted`` (the source's first output on them) and ``target`` (what the hop wrote) are for a fault of
    values; a crash has none of them.
    """

    model: Model
    record: Mapping[str, Any]
    suspect: Suspect
    inputs: Sequence[Array] = field(default=())
    wanted: Array | None = None
    target: Model | None = None


def write(folder: Path, subject: Subject) -> tuple[Path, ...]:
    """Write model, script, issue text and inputs into ``folder``, which is made; the files written.

    Raises ``UsageError`` for a tool and format that no script is known for.
    """
    key = (str(subject.record["tool"]), FORMATS.get(subject.model.format, subject.model.format))
    if key not in snippets.CONVERT:
        raise UsageError(f"no script is known that converts {key[1]} by {key[0]} alone")
    folder.mkdir(parents=True, exist_ok=True)
    model = _copied(Path(subject.model.path), folder, "model")
    files = [model, folder / SCRIPT, folder / ISSUE]
    if subject.wanted is not None:
        arrays = {f"input_{place}": array for place, array in enumerate(subject.inputs)}
        np.savez(folder / ARRAYS, **arrays, wanted=subject.wanted)  # type: ignore[arg-type]
        files.append(folder / ARRAYS)
        if subject.target is not None:
            files.append(_copied(Path(subject.target.path), folder, "converted"))
    (folder / SCRIPT).write_text(_script(subject, key, model.name), encoding="utf-8")
    (folder / ISSUE).write_text(_issue(subject, model.name), encoding="utf-8")
    return tuple(files)


def _copied(path: Path, folder: Path, name: str) -> Path:
    """The file or folder under a plain name, with the weights that lie beside an ONNX file."""
    place = folder / (f"{name}{path.suffix}" if path.is_file() else name)
    if path.is_dir():
        shutil.copytree(path, place, dirs_exist_ok=True)
    else:
        shutil.copyfile(path, place)
        beside = path.with_name(path.name + ".data")
        if beside.is_file():
            shutil.copyfile(beside, folder / beside.name)
    return place


def _script(subject: Subject, key: tuple[str, str], name: str) -> str:
    record = subject.record
    target = f"converted{WRITES[str(record['to'])]}"
    lines = [f'"""{_title(subject)}"""', "", f"OPTIONS = {_plain(record.get('options', {}))!r}", ""]
    text = "\n".join(lines) + snippets.CONVERT[key].format(source=name, target=target)
    if subject.wanted is None or subject.target is None:
        return text
    kind = FORMATS.get(subject.target.format, subject.target.format)
    if kind not in snippets.RUN:
        return text
    return f"""{text}
import numpy as np


{snippets.RUN[kind]}

data = np.load("{ARRAYS}")
arrays = [data[f"input_{{place}}"] for place in range({len(subject.inputs)})]
found = run_{kind}("{target}", arrays)
print("largest error:", np.abs(found - data["wanted"].reshape(found.shape)).max())
"""


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _title(subject: Subject) -> str:
    record, suspect = subject.record, subject.suspect
    what = suspect.evidence.get("operator") or suspect.attribute or suspect.cause
    version = suspect.evidence.get("version")
    operator = f"{what}-{version}" if version and suspect.evidence.get("operator") else str(what)
    fails = "wrong values" if subject.wanted is not None else suspect.cause.replace("_", " ")
    return f"{record['tool']} {record['tool_version']}: {operator}: {fails}"


def _issue(subject: Subject, name: str) -> str:
    record, suspect = subject.record, subject.suspect
    versions = {record["tool"]: record["tool_version"], **record.get("versions", {})}
    listed = "\n".join(f"- {package} {version}" for package, version in versions.items())
    options = "".join(f"\n- option {k} = {v!r}" for k, v in _plain(record.get("options", {})).items())
    smallest = suspect.evidence.get("smallest", {}).get("summary", "")
    size = f"\n\nThe attached model is the smallest that still shows it ({smallest})." if smallest else ""
    actual = str(suspect.actual) if subject.wanted is None else suspect.explanation
    log = str(record.get("log", "")).strip()[-3000:]
    trace = f"\n\n<details><summary>Log</summary>\n\n```\n{log}\n```\n\n</details>" if log else ""
    expected = "the converted model answers as the source does" if subject.wanted is not None else suspect.expected
    return f"""# {_title(subject)}

{suspect.explanation}{size}

## Versions

{listed}{options}

## Steps

1. Put `{name}` and `{SCRIPT}` (attached) into one folder.
2. `python {SCRIPT}`

## Expected

{expected}

## Actual

```
{actual}
```
{trace}
"""
