"""``convfault localize``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from convfault.commands.application import app, command_line, progress_of
from convfault.flags import OUTPUT, RUN, Outputs, shared
from convfault.guard import guarded
from convfault.request import Context, Request

LOCALIZE_EXAMPLES = """
Tell where and why a converted model differs from its source: which layers, what is the matter with them, what each
fault causes alone, and what is left when it is undone.

Names are those that the models' own files use. Alike faults are told together; differences that change no answer are \
only counted. The page (--html) has the errors along the network, the layers round each fault on both sides, and what \
is known about its cause.

[bold]Examples[/]

  convfault localize --model inceptionv3 --src tf --dst tflite --tool-option tflite_converter.optimizations=DEFAULT

  convfault localize my_model.keras my_model.tflite --data pictures/ --html faults.html

  convfault localize my_model.onnx --dst torch --junit faults.xml --quiet

[bold]Exit codes[/]  0 the models agree · 1 they differ · 2 wrong usage, unreadable input or missing package
"""


@app.command(help=LOCALIZE_EXAMPLES)
@guarded
@shared
def localize(
    request: Request,
    context: Context,
    outputs: Outputs,
    reproducer: Annotated[
        Path | None,
        typer.Option(
            "--reproducer",
            metavar="DIR",
            help="Write a model, a script with the tool alone, an issue's text.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            "--trials",
            metavar="N",
            min=0,
            help="Try so many other ways to convert; default: 3 if that takes some 20 s at most, 0: none.",
            rich_help_panel=RUN,
        ),
    ] = None,
    model_explorer: Annotated[
        Path | None,
        typer.Option(
            "--model-explorer",
            help="Write every layer's error as per-node data, to colour the target in Google's Model Explorer.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
) -> None:
    from convfault import delivery, pipeline

    outputs.check(model_explorer)
    with progress_of(outputs) as progress:
        found = pipeline.localize(request, replace(context, progress=progress), reproducer, trials)
    found = replace(found, command_line=command_line())
    delivery.report(found, outputs, model_explorer)
    raise typer.Exit(found.exit_code)
