"""Writes a ``TorchDocument`` back as an exported program: a graph built anew, its signature, its tensors.

A node that no edit touched keeps its name, arguments and metadata. The shapes behind a changed node are inferred again
by torch itself, with the program's own symbols for the sizes that it leaves open.
"""

from __future__ import annotations

import tempfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from convfault import cache
from convfault.model import Model
from convfault.repairing.writers.change import EditRefusedError
from convfault.repairing.writers.document import Node, summary, unused
from convfault.repairing.writers.torch.call import functional
from convfault.repairing.writers.torch.document import TorchDocument

ORIGIN = ("nn_module_stack", "stack_trace", "source_fn_stack", "torch_fn")
"""Metadata that tells where in the user's module a node comes from."""

SHARING = frozenset(
    {
        "dropout.default", "feature_dropout.default", "contiguous.default", "alias.default", "detach.default",
        "view.default", "reshape.default", "flatten.using_ints", "squeeze.default", "squeeze.dim", "squeeze.dims",
        "unsqueeze.default", "permute.default", "transpose.int", "slice.Tensor", "to.dtype",
    }
)  # fmt: skip
"""Operators whose result may lie in the memory of their input."""


def save(document: TorchDocument, path: Path) -> None:
    """Write the program aside, see that it opens, then rename it into place."""
    program = build(document)
    with cache.storage_errors(path.parent), tempfile.TemporaryDirectory(dir=path.parent, prefix=".writing-") as folder:
        aside = Path(folder) / "model.pt2"
        _write(program, Model(str(aside), "pt2", trusted=document.trusted))
        aside.replace(path)


def _write(program: Any, aside: Model) -> None:
    """Save and open again: a file that torch would not read is never put into place."""
    import torch

    from convfault.native import torch_archive

    program.validate()
    torch.export.save(program, aside.path)
    torch_archive.load(aside)


def build(document: TorchDocument) -> Any:
    """The document's program, edited in memory; raises ``EditRefusedError`` where the shapes do not fit."""
    if document.structural:
        spare_memory(document)
    read = {name for node in document.nodes for name in node.inputs} | {*document.outputs} | document.pinned
    if document.structural or document.tensors.added:
        _drop_unread(document, read)
    document.tensors.store(read)
    if document.structural or any(node.native.changed for node in document.nodes):
        Rebuilding(document, read).perform()
    return document.program


def spare_memory(document: TorchDocument) -> None:
    """Let no operator write over an input that another one reads, now that others may read it than when it was made."""
    for node in document.nodes:
        instead = functional(node.native.target)
        if instead is None:
            continue
        producer = document.producer(node.inputs[0])
        alone = len(document.readers(node.inputs[0])) == 1 and node.inputs[0] not in document.outputs
        if producer is None or producer.type in SHARING or not alone:
            before = node.type
            node.native.retarget(instead)
            node.type = node.native.kind
            document.note(node.name, "operator", before, node.type)


def _drop_unread(document: TorchDocument, read: set[str]) -> None:
    """Take weights out of the program that only removed operators read."""
    program, specs = document.program, document.program.graph_signature.input_specs
    readers = {node.name: len(node.users) for node in program.graph.nodes}
    kept = read | {*program.graph_signature.buffers_to_mutate.values()}
    for spec in list(specs):
        name = spec.target
        if not name or name in kept or not readers[spec.arg.name] or document.tensors.stored(name) is None:
            continue
        document.note(name, "parameter", summary(document.tensors.values(name)), "")
        specs.remove(spec)
        document.tensors.changed.pop(name, None)
        program.state_dict.pop(name, None)
        program.constants.pop(name, None)


class Rebuilding:
    """A document's nodes put into a new graph of its program. ``perform`` is called once."""

    def __init__(self, document: TorchDocument, read: set[str]) -> None:
        import torch

        self.document, self.program = document, document.program
        self.old = {node.name: node for node in self.program.graph.nodes}
        self.graph = torch.fx.Graph()
        self.graph._codegen = self.program.graph._codegen
        self.found: dict[str, Any] = {}
        """Tensor → its node in the new graph."""
        self.moved: set[str] = set()
        """Tensors whose type or shape is another one than before."""
        self.added = [name for name in document.tensors.added if name in read]
        values = (node.meta.get("val") for node in self.old.values())
        self.fake = next(value.fake_mode for value in values if hasattr(value, "fake_mode"))

    def perform(self) -> None:
        self._place_inputs()
        names = self._names()
        for node in self.document.nodes:
            self._place(node, names[id(node)])
        self._place_outputs()
        self.program.graph_module.graph = self.graph
        self.program.graph_module.recompile()

    def _create(self, op: str, name: str, target: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        made = self.graph.create_node(op, target, arguments, named, name)
        made.name = name  # as it is: the signature and the user know it by this name
        return made

    # inputs

    def _place_inputs(self) -> None:
        from torch.export.graph_signature import InputKind

        specs = self.program.graph_signature.input_specs
        first = next(place for place, spec in enumerate(specs) if spec.kind == InputKind.USER_INPUT)
        given = {spec.arg.name for spec in specs}
        buffers = [self._buffer(name, given) for name in self.added]
        specs[first:first] = buffers
        tensors = {stand: tensor for tensor, stand in self.document.stands.items()}
        for spec in specs:
            name = spec.arg.name
            made = self._create("placeholder", name, name, (), {})
            if name in self.old:
                old = self.old[name]
                made.meta, made.type, made.args = dict(old.meta), old.type, old.args
            else:
                made.meta["val"] = self.fake.from_tensor(self.program.state_dict[spec.target], static_shapes=True)
            self.found[tensors.get(name, spec.target)] = made

    def _buffer(self, name: str, given: set[str]) -> Any:
        from torch.export.graph_signature import InputKind, InputSpec, TensorArgument

        stand = unused(f"b_{name}", self.document.taken | given)
        return InputSpec(InputKind.BUFFER, TensorArgument(stand), name, persistent=True)

    # operators

    def _names(self) -> dict[int, str]:
        """The name of each node: whoever computes a tensor of the file has the name under which it is known."""
        found = {}
        for node in self.document.nodes:
            title = self.document.titles.get(node.outputs[0])
            if title is not None:
                found[id(node)] = title
        used = {*found.values(), *self.old}
        for node in self.document.nodes:
            if id(node) not in found:
                own = node.name if node.name not in used else unused(f"{node.name}_before", used)
                found[id(node)] = own
                used.add(own)
        return found

    def _place(self, node: Node, name: str) -> None:
        call, origin = node.native, self.old.get(name)
        arguments, named = self._arguments(node)
        made = self._create(call.op, name, call.target, arguments, named)
        made.meta = dict(call.node.meta) if call.node is not None else {}
        if call.node is None and origin is not None:
            made.meta |= {key: origin.meta[key] for key in ORIGIN if key in origin.meta}
        elif call.node is not None and call.node.name != name and made.meta.get("nn_module_stack"):
            stack = made.meta["nn_module_stack"]  # another node is now what the innermost module returns
            made.meta["nn_module_stack"] = dict(list(stack.items())[:-1])
        if self._is_new(node):
            self._infer(node, made)
        self.found[node.outputs[0]] = made

    def _arguments(self, node: Node) -> tuple[tuple[Any, ...], dict[str, Any]]:
        def tensor(slot: int) -> Any:
            name = node.inputs[slot]
            if name in self.document.numbers:
                return self.document.numbers[name]
            return self.found[name] if name else None

        arguments, named = node.native.native(tensor)
        return tuple(arguments), named

    def _is_new(self, node: Node) -> bool:
        call = node.native
        if call.op != "call_function" or call.changed or not self.moved.isdisjoint(node.inputs):
            return bool(call.op == "call_function")
        given = [self.document.names.get(getattr(each, "name", ""), "") for each in call.given]
        kept = all(was == now or now in self.document.numbers for was, now in zip(given, node.inputs, strict=True))
        return not kept

    def _infer(self, node: Node, made: Any) -> None:
        """Let torch say what the call returns."""
        import torch
        from torch._dispatch.python import enable_python_dispatcher

        def known(value: Any) -> Any:
            return value.meta["val"] if isinstance(value, torch.fx.Node) else value

        arguments = torch.fx.node.map_aggregate(made.args, known)
        named = torch.fx.node.map_aggregate(made.kwargs, known)
        before = made.meta.get("val")
        origin = self.old.get(self.document.titles.get(node.outputs[0], ""))
        before = origin.meta.get("val") if origin is not None else before
        try:
            with enable_python_dispatcher(), self.fake, torch.no_grad(), _unrestricted(self.fake):
                made.meta["val"] = made.target(*arguments, **named)
        except Exception as error:  # whatever an operator says of sizes that do not fit
            reason = f"the program does not fit together any more ({next(iter(str(error).splitlines()), '')})"
            raise EditRefusedError(f"{node.name} ({node.type})", reason) from error
        if _form(made.meta["val"]) != _form(before):
            self.moved.add(node.outputs[0])

    # outputs

    def _place_outputs(self) -> None:
        from torch.export.graph_signature import OutputKind, OutputSpec, TensorArgument

        signature, output = self.program.graph_signature, self.program.graph.output_node()
        wanted, made, specs = list(self.document.outputs), [], []
        for spec, value in zip(signature.output_specs, output.args[0], strict=True):
            if hasattr(value, "users"):
                user = spec.kind == OutputKind.USER_OUTPUT
                if user and not wanted:
                    continue
                value = self.found[wanted.pop(0) if user else self.document.names[value.name]]
                spec = OutputSpec(spec.kind, type(spec.arg)(value.name), spec.target)
            made.append(value)
            specs.append(spec)
        for name in wanted:
            made.append(self.found[name])
            specs.append(OutputSpec(OutputKind.USER_OUTPUT, TensorArgument(self.found[name].name), None))
        count = len(signature.output_specs)
        signature.output_specs[:] = specs
        self.graph.output(tuple(made)).meta["val"] = tuple(getattr(each, "meta", {}).get("val") for each in made)
        self._tell_modules(len(specs) != count)

    def _tell_modules(self, resized: bool) -> None:
        """Keep what the program says of its modules' calls true."""
        from torch.export.graph_signature import OutputKind
        from torch.utils import _pytree

        users = [s.arg for s in self.program.graph_signature.output_specs if s.kind == OutputKind.USER_OUTPUT]
        known = {node.name for node in self.graph.nodes}
        for place, entry in enumerate(self.program.module_call_graph):
            call = entry.signature
            if call is None:
                continue
            if place == 0:
                call.outputs = users if call.outputs else call.outputs
                call.out_spec = _pytree.tree_structure(tuple(users)) if resized else call.out_spec
            elif any(getattr(each, "name", "") not in known for each in (*call.inputs, *call.outputs)):
                entry.signature = None


def _unrestricted(fake: Any) -> AbstractContextManager[Any]:
    """While it is open, what operators ask of an open size, whether it is 1 or so, does not fix that size."""
    found: AbstractContextManager[Any] = fake.shape_env.suppress_guards() if fake.shape_env else nullcontext()
    return found


def _form(value: Any) -> str:
    """Type and shape of what a node returns, as text: comparing symbols would restrict them."""
    if isinstance(value, list | tuple):
        return ", ".join(map(_form, value))
    return f"{getattr(value, 'dtype', type(value))} {tuple(getattr(value, 'shape', ()))}"
