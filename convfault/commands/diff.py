"""``convfault diff``."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from convfault.commands.application import app, command_line, progress_of
from convfault.flags import Outputs, shared
from convfault.guard import guarded
from convfault.request import Context, Request

DIFF_EXAMPLES = """
Compare a model with its conversion on the same pictures: does the target answer as the source does?

[bold]Examples[/]

  convfault diff --model inceptionv3 --src tf --dst tflite

  convfault diff --model mobilenetv2 --src tf --dst tflite --tool-option tflite_converter.optimizations=DEFAULT

  convfault diff my_model.keras my_model.tflite --data pictures/ --html report.html

  convfault diff my_model.onnx --dst torch --preprocess "size=224, scale=0.0039, layout='NCHW'"
"""


@app.command(help=DIFF_EXAMPLES)
@guarded
@shared
def diff(
    request: Request,
    context: Context,
    outputs: Outputs,
    all_routes: Annotated[
        bool, typer.Option("--all-routes", help="Compare over every route, one report each.")
    ] = False,
) -> None:
    from convfault import delivery, pipeline

    outputs.check()
    with progress_of(outputs) as progress:
        context = replace(context, progress=progress)
        reports = list(pipeline.diff_routes(request, context) if all_routes else [pipeline.diff(request, context)])
    for number, report in enumerate(reports, 1):
        report = replace(report, command_line=command_line())
        delivery.report(report, outputs.numbered(number) if all_routes else outputs)
    raise typer.Exit(max(report.exit_code for report in reports))
