"""``convfault repair``."""

from __future__ import annotations

from dataclasses import replace

import typer

from convfault.commands.application import app, command_line, progress_of
from convfault.flags import Outputs, shared
from convfault.guard import guarded
from convfault.repairing.order import Order
from convfault.request import Context, Request

REPAIR_EXAMPLES = """
Mend a converted model in its own format, and prove it: the written file is run again on all pictures.

The faults that localize finds are undone in the target's own file, the fewest that make the answers agree; a part of \
the pictures is held out of that search. A quantized target stays quantized: only the layers without which labels \
differ get their full precision back. Where the file cannot be mended, other tools and options are tried.

[bold]Examples[/]

  convfault repair --model mobilenetv2 --src tf --dst tflite --tool-option tflite_converter.optimizations=DEFAULT

  convfault repair my_model.keras my_model.tflite --data pictures/ --out mended.tflite --html repair.html

  convfault repair my_model.onnx my_model.tflite --no-keep-quantized --patch patch.json

[bold]Exit codes[/]  0 repaired and proven · 1 not, or only in part · 2 wrong usage, unreadable input or missing package
"""


@app.command(help=REPAIR_EXAMPLES)
@guarded
@shared
def repair(
    request: Request,
    context: Context,
    outputs: Outputs,
    order: Order,
) -> None:
    from convfault import delivery, pipeline

    outputs.check()
    with progress_of(outputs) as progress:
        found = pipeline.repair(request, order, replace(context, progress=progress))
    found = replace(found, command_line=command_line())
    delivery.report(found, outputs)
    raise typer.Exit(found.exit_code)
