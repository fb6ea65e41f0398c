"""Errors: one tree, one sentence each, whole across processes."""

from __future__ import annotations

import inspect
import json

import pytest

from convfault import errors

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, errors.ConvfaultError)]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_survives_the_way_through_json(kind: type[errors.ConvfaultError]) -> None:
    error = kind("model", "resnet", ["resnet101"]) if kind is errors.UnknownNameError else kind("what happened")
    again = errors.from_record(json.loads(json.dumps(errors.to_record(error))))
    assert (type(again), str(again)) == (kind, str(error))


@pytest.mark.parametrize("kind", CLASSES)
def test_the_tree_in_the_docstring_names_every_error(kind: type[errors.ConvfaultError]) -> None:
    assert kind.__name__ in (errors.__doc__ or "")


def test_what_the_user_can_mend_exits_with_2_and_our_defects_with_3() -> None:
    assert errors.DataError("x").exit_code == 2
    assert errors.ConvfaultError("x").exit_code == 3


def test_without_a_near_name_all_are_listed() -> None:
    assert "known: a, b" in str(errors.UnknownNameError("tool", "zzz", ["a", "b"]))
