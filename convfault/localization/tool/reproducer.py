"""Writes what a converter's maintainers need: a small model, a script with their tool alone, an issue's text."""

from __future__ import annotations

import importlib.util
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from convfault.errors import UsageError
from convfault.frameworks import FRAMEWORKS
from convfault.localization.tool import snippets
from convfault.localization.tool.exhibit import Exhibit, Values
from convfault.localization.tool.layouts import Permutation
from convfault.model import Model

SCRIPT, ISSUE, ARRAYS = "reproduce.py", "issue.md", "inputs.npz"
MADE = "converted_here"
"""What the tool wrote; the script writes its own under another name, as some tools do not write over a file."""
OURS = re.compile(r' *File "[^"]*/convfault/[^"]*".*\n(?: {4}.*\n)*')
PACKAGES = re.compile(r"/[^\s\"']*/site-packages/")
NAMED = 4
"""So many nodes are named."""
FORMATS = {"keras_h5": "keras"}
WRITES = {"onnx": ".onnx", "torch": ".pt2", "tflite": ".tflite", "keras": ".keras", "tf": "_saved_model"}


def write(folder: Path, exhibit: Exhibit) -> tuple[Path, ...]:
    """Write model, script, issue text and inputs into ``folder``, which is made; the files written.

    An exhibit that can be made smaller is. Raises ``UsageError`` for a tool and format that no script is known for.
    """
    with tempfile.TemporaryDirectory(prefix="convfault-reproducer-") as work:
        smaller = exhibit.smaller(Path(work)) if exhibit.smaller is not None else None
        return _written(folder, smaller or exhibit)


def _written(folder: Path, exhibit: Exhibit) -> tuple[Path, ...]:
    tool, kind = str(exhibit.record["tool"]), _kind(exhibit.model.format)
    conversion = snippets.conversion(tool, kind, str(exhibit.record["to"]))
    if conversion is None:
        raise UsageError(f"no script is known that converts {kind} by {tool} alone")
    folder.mkdir(parents=True, exist_ok=True)
    model = _copied(Path(exhibit.model.path), folder, "model")
    files = [model, folder / SCRIPT, folder / ISSUE]
    if exhibit.values is not None:
        arrays = {f"input_{place}": array for place, array in enumerate(exhibit.values.inputs)}
        np.savez(folder / ARRAYS, **arrays, wanted=exhibit.values.wanted)  # type: ignore[arg-type]
        files += [folder / ARRAYS, _copied(Path(exhibit.values.target.path), folder, MADE)]
    if tool in snippets.BESIDE:
        files.append(_beside(snippets.BESIDE[tool], folder))
    (folder / SCRIPT).write_text(_script(exhibit, conversion, model.name), encoding="utf-8")
    (folder / ISSUE).write_text(_issue(exhibit, [path.name for path in files]), encoding="utf-8")
    return tuple(files)


def _kind(format_: str) -> str:
    return FORMATS.get(format_, format_)


def _copied(path: Path, folder: Path, name: str) -> Path:
    """The file or folder under a plain name, with the weights that lie beside an ONNX file."""
    place = folder / (f"{name}{path.suffix}" if path.is_file() else f"{name}_saved_model")
    if path.is_dir():
        shutil.copytree(path, place, dirs_exist_ok=True)
    else:
        shutil.copyfile(path, place)
        beside = path.with_name(path.name + ".data")
        if beside.is_file():
            shutil.copyfile(beside, folder / beside.name)
    return place


def _beside(module: str, folder: Path) -> Path:
    """The file of a module, copied beside the script."""
    found = importlib.util.find_spec(module)
    assert found is not None
    assert found.origin is not None
    return Path(shutil.copy(found.origin, folder))


def _script(exhibit: Exhibit, conversion: str, name: str) -> str:
    target = f"converted{WRITES[str(exhibit.record['to'])]}"
    code = f"# Convert\n\n{conversion.format(source=name, target=target)}"
    if exhibit.values is not None:
        code = f"{_asking(exhibit, exhibit.values, name)}\n{code}\n{_comparison(exhibit, exhibit.values, target)}"
    imports = "import numpy as np\n\n" if "np." in code else ""
    return f'"""{_title(exhibit)}"""\n\n{imports}OPTIONS = {_plain(exhibit.record.get("options", {}))!r}\n\n{code}'


def _asking(exhibit: Exhibit, values: Values, name: str) -> str:
    """The lines that run the source, before anything else: nobuco's import changes torch."""
    source = _kind(exhibit.model.format)
    return f"""# What the source answers


{snippets.RUN[source]}

data = np.load("{ARRAYS}")
arrays = [data[f"input_{{number}}"] for number in range({len(values.inputs)})]
try:
    wanted = run_{source}("{name}", arrays)[{values.source_output}]
except ImportError:  # its runtime is not here: what it answered when this was written
    wanted = data["wanted"]
"""


def _comparison(exhibit: Exhibit, values: Values, target: str) -> str:
    """The lines that run the target and print how far it is off."""
    held = snippets.IN_MEMORY.get(str(exhibit.record["tool"]))
    kind, called = held or _kind(values.target.format), held or f'"{target}"'
    function = "" if kind == _kind(exhibit.model.format) else f"\n\n{snippets.RUN[kind]}\n"
    fed = ", ".join(f"arrays[{number}]{_transposed(axes)}" for number, axes in values.feed)
    turned = f".reshape({list(values.wanted.shape)})" if values.axes is None else _transposed(values.axes)
    return f"""# What the converted model answers
{function}
found = run_{kind}({called}, [{fed}])[{values.output}]{turned}
print("largest value:", np.abs(wanted).max())
print("rounding explains:", {values.limit:.3g})
print("largest error:", np.abs(found.astype(float) - wanted.astype(float)).max())
"""


def _transposed(axes: Permutation) -> str:
    return "" if axes == tuple(range(len(axes))) else f".transpose{axes}"


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _title(exhibit: Exhibit) -> str:
    record, suspect = exhibit.record, exhibit.suspect
    name = f"{record['tool']} {record['tool_version']}"
    if exhibit.values is not None:
        what = exhibit.shrunk.operators if exhibit.shrunk else suspect.attribute or suspect.cause
        return f"{name}: {what}: wrong values"
    operator, version = suspect.evidence.get("operator"), suspect.evidence.get("version")
    what = operator or suspect.attribute or suspect.cause
    return f"{name}: {what}{f'-{version}' if operator and version else ''}: {suspect.cause.replace('_', ' ')}"


def _issue(exhibit: Exhibit, files: list[str]) -> str:
    record, suspect, values = exhibit.record, exhibit.suspect, exhibit.values
    versions = {record["tool"]: record["tool_version"], **record.get("versions", {})}
    listed = "\n".join(f"- {package} {version}" for package, version in versions.items())
    options = "".join(f"\n- option {k} = {v!r}" for k, v in _plain(record.get("options", {})).items())
    log = _log(str(record.get("log", ""))) if values is None else ""
    trace = f"\n\n<details><summary>Log</summary>\n\n```\n{log}\n```\n\n</details>" if log else ""
    expected = suspect.expected if values is None else "The converted model answers as the source does."
    attached = ", ".join(f"`{name}`" for name in files if name not in {ISSUE, SCRIPT})
    needed = "" if values is None else f", with {FRAMEWORKS[values.target.framework].package} to run what it writes"
    return f"""# {_title(exhibit)}

{suspect.explanation}

{_size(exhibit)}

## Versions

{listed}{options}

## Steps

1. Put `{SCRIPT}` and what is attached into one folder: {attached}.
2. `python {SCRIPT}`, where {record["tool"]} is installed{needed}.

## Expected

{expected}

## Actual

{_actual(exhibit)}
{trace}
"""


def _log(text: str) -> str:
    """The end of a log without convfault's own frames, and without the folders that packages are installed in."""
    return PACKAGES.sub("", OURS.sub("", text)).strip()[-3000:]


def _actual(exhibit: Exhibit) -> str:
    values = exhibit.values
    if values is None:
        return f"```\n{exhibit.suspect.actual}\n```"
    largest = float(np.abs(values.wanted.astype(np.float64)).max(initial=0.0))
    return (
        f"The converted model's answers are off by up to {values.error:.3g}, where the source's largest is "
        f"{largest:.3g} and rounding explains {values.limit:.2g}."
    )


def _size(exhibit: Exhibit) -> str:
    """How much of the user's model is attached."""
    size, shrunk = _weight(exhibit.model), exhibit.shrunk
    if shrunk is None:
        return f"The attached model is the whole one ({size}): no smaller one was found that shows it."
    whole = f" of {_weight(exhibit.whole)}" if exhibit.whole is not None else ""
    names = [f"`{name}`" for _, name in shrunk.nodes if name]
    listed = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
    text = f"The attached model is the smallest found that still shows it ({shrunk}; {size}{whole})"
    return f"{text}: {listed}." if names else f"{text}."


def _weight(model: Model) -> str:
    """The size on the disk, in words."""
    size = float(model.size_bytes)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"
