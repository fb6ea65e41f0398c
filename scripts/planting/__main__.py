"""Plants faults, prints the records: ``python -m planting a.tflite --kind bias_zeroed --seed 3 --out b.tflite``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from planting import KINDS, Unfit, formats_of, plant


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m planting", description="Plants known faults in a model file.")
    parser.add_argument("model", type=Path, nargs="?", help=".tflite, .onnx, .keras, .pt2, .pb or a SavedModel folder")
    parser.add_argument(
        "--kind", action="append", default=[], choices=sorted(KINDS), metavar="KIND", help="may be repeated"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="where the faulty copy goes")
    parser.add_argument("--attempts", type=int, default=12, help="places to try before giving up")
    parser.add_argument("--allow-ineffective", action="store_true", help="accept a fault that changes no output")
    parser.add_argument("--list", action="store_true", help="print the kinds, their families and formats")
    options = parser.parse_args(arguments)
    if options.list:
        for name, kind in KINDS.items():
            print(f"{name:34} {kind.family:16} {' '.join(formats_of(name)):40} {kind.summary}")
        return 0
    if options.model is None or options.out is None or not options.kind:
        parser.error("a model, --kind and --out are needed")
    effective_only = not options.allow_ineffective
    try:
        records = plant(
            options.model,
            options.kind,
            options.seed,
            options.out,
            attempts=options.attempts,
            need_effect=effective_only,
        )
    except Unfit as reason:
        print(reason, file=sys.stderr)
        return 1
    print(json.dumps([record.to_json() for record in records], indent=2, default=str))
    return 0


if __name__ == "__main__":
    sys.exit(main())
