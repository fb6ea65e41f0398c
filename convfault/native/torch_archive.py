"""Exported programs (``.pt2``) opened without executing anything that is stored in them.

``torch.export.load`` says of itself "never load data from an untrusted source". What it would execute: pickles of
weights, constants and sample inputs; compiled libraries (AOTInductor); operators named by any dotted path below
``torch``; and text that is evaluated: symbolic sizes (sympy), guards, and names that land in generated code.
"""

from __future__ import annotations

import ast
import json
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn
from unittest import mock

from convfault.errors import TrustError
from convfault.model import Model

OPERATOR = re.compile(
    r"torch\.ops\.(aten|prim|prims|quantized|quantized_decomposed|torchvision|higher_order)\.[A-Za-z_]\w*(\.[A-Za-z]\w*)?"
    r"|torch\.sym_[a-z]+|torch\._sym_[a-z]+|torch\._check(_is_size)?|math\.[a-z]\w*"
    r"|_operator\.(getitem|add|sub|mul|floordiv|truediv|mod|pow|neg|eq|ne|lt|le|gt|ge|and_|or_|not_)"
)
"""Operators that compute and do nothing else; ``torch.ops.aten.from_file`` is the exception."""

READS_FILES = "torch.ops.aten.from_file"
NAME = re.compile(r"[\w.]*")
MEMBER = re.compile(r"[\w.:/+ -]*")
MEMBERS = frozenset({"parameter_name", "buffer_name", "tensor_constant_name"})
"""Names that torch.fx prints between quotes where they are no identifiers, such as the keys of a ``ModuleDict``."""
CONTEXT = re.compile(r"[\w.\[\]{}:, \"]*")
"""Names of container types and the keys of dictionaries, which are JSON inside of JSON."""

FUNCTIONS = frozenset(
    """
    Symbol Integer Float Rational Add Mul Pow Max Min Mod Abs Eq Ne Lt Le Gt Ge And Or Not Equality Unequality
    LessThan GreaterThan StrictLessThan StrictGreaterThan FloorDiv ModularIndexing Where PythonMod CleanDiv CeilToInt
    FloorToInt CeilDiv LShift RShift PowByNatural FloatPow FloatTrueDiv IntTrueDiv IsNonOverlappingAndDenseIndicator
    TruncToFloat TruncToInt RoundToInt RoundDecimal ToFloat Identity OpaqueUnaryFn_sqrt Piecewise max min abs
    """.split()  # noqa: SIM905 -- one name a line would be a page
)
METHODS = frozenset({"size", "stride", "storage_offset", "dim", "numel", "isnan"})
ATTRIBUTES = METHODS | {"shape", "ndim", "dtype", "device", "inf"}
"""What sizes and guards may be made of when they are evaluated."""


def load(model: Model) -> Any:
    """The ``ExportedProgram`` of the file; raises ``TrustError`` where reading it would execute something."""
    import torch

    if model.trusted:
        return torch.export.load(model.path)
    for text in _programs(model.path):
        _check_program(model, json.loads(text))
    with _no_pickles(model):
        return torch.export.load(model.path)


def _programs(path: str) -> Iterator[bytes]:
    """The JSON of every program in the archive, through the same readers that the loading uses afterwards."""
    from torch.export.pt2_archive._package import PT2ArchiveReader

    try:
        with PT2ArchiveReader(path) as archive:
            yield from [archive.read_bytes(name) for name in archive.get_file_names() if name.startswith("models/")]
    except RuntimeError:
        pass  # not of the present layout; torch then tries that of 2.7 and older, and so does the next line
    with zipfile.ZipFile(path) as old:
        yield from (old.read(info) for info in old.infolist() if info.filename == "serialized_exported_program.json")


@contextmanager
def _no_pickles(model: Model) -> Iterator[None]:
    """While it is open, torch unpickles tensors only and loads no objects and no libraries."""
    import torch
    from torch.export.pt2_archive import _package

    unpickle = torch.load

    def tensors_only(file: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return unpickle(file, *arguments, **{**options, "weights_only": True})
        except Exception as error:  # not only UnpicklingError: whatever a hostile pickle can provoke
            raise TrustError(_sentence(model, "a pickle that is more than tensors")) from error

    def refuse(*arguments: Any, **options: Any) -> NoReturn:
        raise TrustError(_sentence(model, "pickled objects or compiled libraries"))

    with (
        mock.patch.object(torch, "load", tensors_only),
        mock.patch.object(torch._C, "_pickle_load_obj", refuse),
        mock.patch.object(_package, "pickle", mock.Mock(loads=refuse)),
        mock.patch.object(_package, "_load_aoti", refuse),
    ):
        yield


def _check_program(model: Model, value: Any, key: str = "") -> None:
    """Walk the program's JSON; every place that is executed, evaluated or printed into code must look harmless."""
    if isinstance(value, dict):
        for name, part in value.items():
            if name != "metadata":  # of nodes: where they come from, which is text only
                _check_program(model, part, name)
    elif isinstance(value, list):
        for part in value:
            _check_program(model, part, key)
    elif isinstance(value, str):
        _check_text(model, key, value)


def _check_text(model: Model, key: str, text: str) -> None:
    if key == "target" and (not OPERATOR.fullmatch(text) or text.startswith(READS_FILES)):
        raise TrustError(_sentence(model, f"a call of '{text[:100]}', which is not an operator on tensors"))
    if key in {"expr_str", "guards_code"} and not _is_arithmetic(text):
        raise TrustError(_sentence(model, f"an expression that is more than arithmetic, '{text[:100]}'"))
    allowed = MEMBER if key in MEMBERS else NAME
    if (key == "name" or key.endswith(("_name", "_names"))) and not allowed.fullmatch(text):
        raise TrustError(_sentence(model, f"a name that could be code, '{text[:100]}'"))
    if key in {"in_spec", "out_spec"} and text:
        for name in _strings(json.loads(text)):
            if not CONTEXT.fullmatch(name):
                raise TrustError(_sentence(model, f"a name that could be code, '{name[:100]}'"))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in parts:
        yield from _strings(part)


def _is_arithmetic(text: str) -> bool:
    """Whether evaluating the text can do nothing but arithmetic on sizes."""
    try:
        return all(_is_plain(node) for node in ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError, RecursionError):
        return False


def _is_plain(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        # Text is taken by constructors of symbols and numbers only: sympy's other functions would evaluate it.
        holds_text = any(isinstance(a, ast.Constant) and isinstance(a.value, str) for a in node.args)
        if isinstance(node.func, ast.Name):
            named = node.func.id in FUNCTIONS
            return named and (not holds_text or node.func.id in {"Symbol", "Integer", "Float"})
        return isinstance(node.func, ast.Attribute) and node.func.attr in METHODS and not holds_text
    if isinstance(node, ast.Attribute):
        return node.attr in ATTRIBUTES
    if isinstance(node, ast.Name):
        return not node.id.startswith("__")
    return isinstance(node, PLAIN)


PLAIN = (
    *(
        ast.Expression,
        ast.Constant,
        ast.Compare,
        ast.BoolOp,
        ast.UnaryOp,
        ast.BinOp,
        ast.Subscript,
        ast.Slice,
        ast.Tuple,
    ),
    *(ast.keyword, ast.boolop, ast.unaryop, ast.operator, ast.cmpop, ast.expr_context),
)
"""The other kinds of syntax that arithmetic needs."""


def _sentence(model: Model, what: str) -> str:
    return f"{model.path} holds {what}: give --trust if you know where the model comes from"
