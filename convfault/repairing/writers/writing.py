"""What the writers of all formats do around the surgery: apply the edits, name who is refused, write safely."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from convfault import cache
from convfault.errors import ConvfaultError, UsageError
from convfault.model import Model
from convfault.relax.edits import Edit, Together
from convfault.relax.graph import Graph
from convfault.repairing.writers.change import Change, EditRefusedError, Refusal
from convfault.repairing.writers.document import Document
from convfault.repairing.writers.layers import LayerRefusal
from convfault.repairing.writers.surgery import Surgery


def written(
    model: Model, graph: Graph, edits: Sequence[Edit], out: Path, open_document: Callable[[Model], Document]
) -> tuple[Change, ...]:
    """Write the edited copy; see ``convfault.repairing.writers``."""
    check_place(model, out)
    cache.check_writable(out)
    document = open_document(model)
    if not edits and document.alone:
        cache.write_aside(out, Path(model.path).read_bytes())
        return ()
    after = edited(graph, edits)
    try:
        Surgery(document, graph, after).perform()
        document.save(out)
    except LayerRefusal as refusal:
        raise EditRefusedError(_named(graph, edits, refusal.layer), refusal.reason) from refusal
    except Refusal as refusal:  # over what joins layers, a transposition or a reshaping, or over the file as a whole
        raise EditRefusedError(", ".join(_names(graph, edit) for edit in edits), str(refusal)) from refusal
    return tuple(document.changes)


def check_place(model: Model, out: Path) -> None:
    """Raise ``UsageError`` when the output is the model itself."""
    if out.exists() and out.resolve() == Path(model.path).resolve():
        raise UsageError(f"{out} is the model that is to be repaired: name another file, it is never overwritten")


def edited(graph: Graph, edits: Sequence[Edit]) -> Graph:
    """The graph with the edits applied; raises ``EditRefusedError`` for one that does not fit it."""
    for edit in edits:
        try:
            graph = edit.apply(graph)
        except (ConvfaultError, ValueError, IndexError, KeyError) as error:
            raise EditRefusedError(
                _names(graph, edit), f"it does not fit the model after the edits before it ({error})"
            ) from error
    return graph


def _named(graph: Graph, edits: Sequence[Edit], layer_id: str) -> str:
    """The edit that a layer's refusal is about, in native names."""
    for edit in edits:
        if layer_id in edit.changed:
            return _names(graph, edit)
    return _native(graph, layer_id)


def _names(graph: Graph, edit: Edit) -> str:
    if isinstance(edit, Together):
        return ", ".join(dict.fromkeys(_names(graph, part) for part in edit.edits))
    return ", ".join(_native(graph, name) for name in sorted(edit.changed)) or type(edit).__name__


def _native(graph: Graph, layer_id: str) -> str:
    """A layer as the user knows it."""
    if layer_id not in graph:
        return f"new layer {layer_id}"
    layer = graph[layer_id]
    names = layer.native.names or ((layer.native.tensor,) if layer.native.tensor else ())
    return f"{layer.kind} '{names[-1]}'" if names else f"{layer.kind} {layer_id}"
