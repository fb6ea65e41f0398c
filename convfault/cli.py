"""Commands and flags; prints; exit codes; decides nothing.

0: the models agree · 1: they differ · 2: wrong usage, unreadable input or missing package · 3: a defect of convfault
· 130: interrupted.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

import convfault
from convfault.errors import UnknownNameError, UsageError
from convfault.flags import OUTPUT, RUN, Outputs, shared
from convfault.guard import guarded
from convfault.matrix.selection import Selection, Work
from convfault.repairing.order import Order
from convfault.request import Context, Request

app = typer.Typer(
    name="convfault",
    help="Finds out [bold]that[/], [bold]where[/] and [bold]why[/] a converted model differs from its source.",
    rich_markup_mode="rich",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

environments = typer.Typer(no_args_is_help=True, help="Environments of converters that clash with the others.")
app.add_typer(environments, name="environment")

Plot = Annotated[Path | None, typer.Option("--plot", help="Draw the heat map of all models as .svg or .png.")]

DIFF_EXAMPLES = """
Compare a model with its conversion on the same pictures: does the target answer as the source does?

[bold]Examples[/]

  convfault diff --model inceptionv3 --src tf --dst tflite

  convfault diff --model mobilenetv2 --src tf --dst tflite --tool-option tflite_converter.optimizations=DEFAULT

  convfault diff my_model.keras my_model.tflite --data pictures/ --html report.html

  convfault diff my_model.onnx --dst torch --preprocess "size=224, scale=0.0039, layout='NCHW'"
"""


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"convfault {convfault.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


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
    with _progress(outputs) as progress:
        context = replace(context, progress=progress)
        reports = list(pipeline.diff_routes(request, context) if all_routes else [pipeline.diff(request, context)])
    for number, report in enumerate(reports, 1):
        report = replace(report, command_line=shlex.join(["convfault", *sys.argv[1:]]))
        delivery.report(report, outputs.numbered(number) if all_routes else outputs)
    raise typer.Exit(max(report.exit_code for report in reports))


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
    with _progress(outputs) as progress:
        found = pipeline.localize(request, replace(context, progress=progress), reproducer, trials)
    found = replace(found, command_line=shlex.join(["convfault", *sys.argv[1:]]))
    delivery.report(found, outputs, model_explorer)
    raise typer.Exit(found.exit_code)


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
    with _progress(outputs) as progress:
        found = pipeline.repair(request, order, replace(context, progress=progress))
    found = replace(found, command_line=shlex.join(["convfault", *sys.argv[1:]]))
    delivery.report(found, outputs)
    raise typer.Exit(found.exit_code)


@app.command()
@guarded
def apply(
    patch: Annotated[Path, typer.Argument(help="What convfault repair --patch wrote.")],
    target: Annotated[Path, typer.Argument(help="Another copy of the model that was repaired.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where to write the repaired copy.")] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Allow the model file to execute code.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Replay a recorded repair on another copy of the model, without running anything."""
    from convfault import pipeline
    from convfault.render import terminal

    done = pipeline.apply(patch, target, out, trust)
    if not quiet:
        terminal.table("changes", list(done.changes))
        typer.echo(f"written: {done.path}")


@app.command()
@guarded
def judge(
    report: Annotated[Path, typer.Argument(help="A JSON report that an earlier command wrote.")],
    tolerance: Annotated[float | None, typer.Option(help="Largest absolute deviation that counts as agreeing.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the judged report.")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write it as a page.")] = None,
    junit: Annotated[Path | None, typer.Option("--junit", help="Write it as JUnit XML.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Judge a saved result again, under another tolerance, without running anything."""
    from convfault import delivery, pipeline

    outputs = Outputs(json_file, html, junit, quiet)
    outputs.check()
    judged = pipeline.judge(report, tolerance)
    delivery.report(judged, outputs)
    raise typer.Exit(judged.exit_code)


@app.command("list")
@guarded
def list_(
    what: Annotated[str, typer.Argument(help="models, datasets, frameworks, converters, environments or routes")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """What convfault knows: named models, data sets, frameworks, converters, their environments, routes."""
    from convfault import catalogue
    from convfault.render import terminal

    if what not in catalogue.LISTINGS:
        raise UnknownNameError("list", what, catalogue.LISTINGS)
    rows = catalogue.LISTINGS[what]()
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
    else:
        terminal.table(what, rows)


@app.command()
@guarded
def doctor(
    quick: Annotated[bool, typer.Option(help="Look at versions only, import nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """What is installed, what is missing or broken, and how to get it."""
    from dataclasses import asdict

    from convfault import doctor as examination
    from convfault.render import terminal

    findings = [asdict(finding) for finding in examination.examine(quick)]
    if as_json:
        typer.echo(json.dumps({**examination.system(), "packages": findings}, indent=1))
    else:
        terminal.table("packages", findings)
    raise typer.Exit(0 if all(finding["status"] == "ok" for finding in findings) else 1)


@app.command()
@guarded
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Drop everything.")] = False,
) -> None:
    """Where built models, conversions, pictures and runs are kept, and how large that is."""
    from convfault.cache import Cache

    store = Cache.default()
    if clear:
        typer.echo(f"freed {store.clear() / 1e6:.0f} MB in {store.root}")
        return
    entries = store.entries()
    typer.echo(f"{store.root}: {len(entries)} entries, {sum(size for _, size, _ in entries) / 1e6:.0f} MB")


@environments.command("install")
@guarded
def install(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="As listed, or a tool at a release: tf2onnx==1.13.0.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every one that convfault describes.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Make environments now rather than on first use; see: convfault list environments."""
    from convfault.cache import Cache
    from convfault.converters import environment, install
    from convfault.render import terminal

    chosen = [*(environment.names() if every else ()), *(names or ())]
    if not chosen:
        raise UsageError(f"name an environment ({', '.join(environment.names())}) or give --all")
    with _progress(Outputs(quiet=quiet)) as progress:
        rows = install.install_named(chosen, Cache.default(), progress)
    if not quiet:
        terminal.table("environments", rows)


@app.command("report-schema")
@guarded
def report_schema(
    of: Annotated[str, typer.Argument(help="report (of one comparison), matrix, regression or patch")] = "report",
) -> None:
    """Print the JSON Schema that every JSON file of a kind validates against."""
    from convfault import schemas

    typer.echo(json.dumps(schemas.schema(of), indent=1))


@app.command()
@guarded
@shared
def matrix(
    selection: Selection,
    work: Work,
    context: Context,
    outputs: Outputs,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write one row a cell as comma-separated values.")] = None,
    plot: Plot = None,
) -> None:
    """Try every pair of frameworks by every route: which conversions can be trusted, and which tool is best?"""
    from convfault import delivery, pipeline

    delivery.check_picture(plot)
    outputs.check(csv, plot)
    work = replace(work, pages=outputs.html is not None)
    with _progress(outputs) as progress:
        found = pipeline.matrix(selection, work, replace(context, progress=progress))
    found = replace(found, command_line=shlex.join(["convfault", *sys.argv[1:]]))
    delivery.matrix(found, work, outputs, csv, plot)
    raise typer.Exit(found.exit_code)


@app.command()
@guarded
@shared
def regress(
    selection: Selection,
    work: Work,
    context: Context,
    outputs: Outputs,
    baseline: Annotated[Path | None, typer.Option(help="Compare with what was kept here.")] = None,
    write_baseline: Annotated[Path | None, typer.Option(help="Keep what the cells give now.")] = None,
    plot: Plot = None,
) -> None:
    """Tell in CI what got worse since a baseline; without a selection, the cells of the baseline are tried."""
    from convfault import delivery, pipeline

    delivery.check_picture(plot)
    outputs.check(plot)
    work = replace(work, pages=outputs.html is not None)
    with _progress(outputs) as progress:
        context = replace(context, progress=progress)
        found = pipeline.regress(baseline, selection, work, context, write_baseline)
    delivery.regression(found, work, outputs, write_baseline, plot)
    raise typer.Exit(found.exit_code)


@contextmanager
def _progress(outputs: Outputs) -> Iterator[Any]:
    """Bars on a terminal, silence elsewhere."""
    from convfault.progress import Silent

    if outputs.quiet or not sys.stderr.isatty():
        yield Silent()
        return
    from convfault.render.progress import TerminalProgress

    with TerminalProgress() as progress:
        yield progress


def main() -> None:
    """The console script."""
    app()
