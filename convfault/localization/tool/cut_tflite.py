"""Takes a TFLite model apart. Runs where a converter runs; needs ``flatbuffers`` there."""

from __future__ import annotations

import importlib.util
import os
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

from convfault.flatbuffer import gathered, packed
from convfault.localization.tool.reduction import Piece, Places
from convfault.model import Model

SCHEMA = "CONVFAULT_TFLITE_SCHEMA"
"""The variable that says where flatbuffers' classes are, for an environment that does not have them itself."""


def where() -> dict[str, str]:
    """The variable with the place of the classes that this environment has."""
    try:
        found = importlib.util.find_spec("ai_edge_litert.schema_py_generated")
    except ModuleNotFoundError:
        found = None
    return {} if found is None or found.origin is None else {SCHEMA: found.origin}


def classes() -> Any:
    """flatbuffers' classes for TFLite: this environment's, or those of the one that started this process."""
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError:
        spec = importlib.util.spec_from_file_location("schema_py_generated", os.environ[SCHEMA])
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    return schema_py_generated


class Cutter:
    """The operators of the first subgraph; tensors that operators left out had computed become inputs."""

    def __init__(self, model: Model) -> None:
        schema = classes()
        self.source, self.schema = model, schema
        self.model = schema.ModelT.InitFromPackedBuf(gathered(Path(model.path).read_bytes(), schema), 0)
        names = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
        codes = self.model.operatorCodes
        self.graph = self.model.subgraphs[0]
        self.nodes, self.tensors = [], []
        for operator in self.graph.operators:
            code = codes[operator.opcodeIndex]
            number = max(code.builtinCode, code.deprecatedBuiltinCode)
            made = tuple(self._name(tensor) for tensor in operator.outputs)
            self.nodes.append((names.get(number, str(number)), made[0]))
            self.tensors.append(made)
        maker = {int(t): index for index, operator in enumerate(self.graph.operators) for t in operator.outputs}
        self.reads = [
            tuple(maker[int(t)] for t in operator.inputs if int(t) in maker) for operator in self.graph.operators
        ]

    def _name(self, tensor: int) -> str:
        name = self.graph.tensors[int(tensor)].name
        return str(name.decode()) if name else ""

    def write(self, kept: Places, folder: Path) -> Piece | None:
        """``reduction.Cut.write``."""
        operators = [self.graph.operators[index] for index in kept]
        made = {int(tensor) for operator in operators for tensor in operator.outputs}
        read = list(dict.fromkeys(int(t) for operator in operators for t in operator.inputs if t >= 0))
        inputs = [tensor for tensor in read if tensor not in made and not self._is_constant(tensor)]
        outputs = [int(t) for o in operators for t in o.outputs if int(t) not in read]
        if not inputs or not outputs:
            return None
        graph, small = copy(self.graph), copy(self.model)
        graph.operators, graph.inputs, graph.outputs = operators, inputs, outputs
        small.subgraphs = [graph, *self.model.subgraphs[1:]]
        small.signatureDefs = None
        path = folder / "smallest.tflite"
        path.write_bytes(packed(small))
        origins = tuple(self._name(tensor) for tensor in inputs)
        return Piece(replace(self.source, path=str(path), signature=None), kept, origins)

    def _is_constant(self, tensor: int) -> bool:
        buffer = self.model.buffers[self.graph.tensors[tensor].buffer]
        return buffer.data is not None and len(buffer.data) > 0
