"""The JSON Schemas (draft 2020-12) that convfault ships, one for each kind of JSON file, and the check against them."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from convfault.errors import InputError, UnknownNameError

KINDS = ("report", "matrix", "regression", "patch")


@cache
def schema(kind: str) -> dict[str, Any]:
    """The schema of a kind of file; raises ``UnknownNameError``."""
    if kind not in KINDS:
        raise UnknownNameError("schema", kind, KINDS)
    text = resources.files("convfault").joinpath(f"{kind}.schema.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def invalid(kind: str, record: Any) -> str | None:
    """What is wrong with the JSON form of a kind, in one sentence with its place; None when it is valid."""
    import jsonschema

    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema(kind)).iter_errors(record))
    return None if error is None else f"{_short(error.message)} at {error.json_path}"


def read(kind: str, path: Path) -> Any:
    """The record in a JSON file of a kind; raises ``InputError`` when it is none, or of another schema version."""
    record, version = _load(kind, path), schema(kind)["properties"]["schema_version"]["const"]
    found = record.get("schema_version") if isinstance(record, dict) else None
    if found != version:
        raise InputError(f"{path} is not a {kind} of schema version {version} (it says {_short(found)})")
    if problem := invalid(kind, record):
        raise InputError(f"{path} is not a valid {kind}: {problem}; make it again")
    return record


def _load(kind: str, path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except OSError as error:
        raise InputError(f"cannot read the {kind} {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not a JSON {kind}: {_short(error)}; is it complete?") from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON number")


def _short(value: Any) -> str:
    """The value on one line of bounded length."""
    text = " ".join(str(value).split())
    return text if len(text) <= 200 else text[:200] + " ..."
