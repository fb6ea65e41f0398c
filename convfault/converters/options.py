"""Options of tools as text: ``--tool-option tool.option=value`` and the brackets of a route."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from typing import Any

from convfault.converters import CONVERTERS
from convfault.converters.base import Option
from convfault.errors import UnknownNameError, UsageError

OPENING, CLOSING, QUOTES = "[({", "])}", "\"'"
WORDS: Mapping[str, Any] = {"true": True, "false": False, "none": None, "null": None}

ToolOptions = Mapping[str, Mapping[str, Any]]


def parse_options(texts: Iterable[str]) -> dict[str, dict[str, Any]]:
    """``["tflite_converter.optimizations=DEFAULT", …]`` → tool → option → value.

    Raises ``UsageError`` for a text of another form and ``UnknownNameError`` for an unknown tool or option.
    """
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        place, equals, value = text.partition("=")
        tool, dot, name = place.strip().rpartition(".")
        if not equals or not dot:
            raise UsageError(f"'{text}' is not of the form tool.option=value, e.g. tf2onnx.opset=17")
        option = options_of(tool).get(name)
        if option is None:
            raise UnknownNameError(f"option of {tool}", name, options_of(tool), hint="(convfault list converters)")
        found.setdefault(tool, {})[name] = option.read(place.strip(), parse_value(value))
    return found


def tools() -> tuple[str, ...]:
    """The names of all tools, in order of preference."""
    return tuple(dict.fromkeys(converter.tool for converter in CONVERTERS.values()))


def options_of(tool: str) -> dict[str, Option]:
    """The options that a tool has for any pair of frameworks; raises ``UnknownNameError``."""
    if tool not in tools():
        raise UnknownNameError("tool", tool, tools())
    return {name: option for item in CONVERTERS.values() if item.tool == tool for name, option in item.options.items()}


def parse_value(text: str) -> Any:
    """A number, flag, quoted text or list of these; a bare word is text."""
    text = text.strip()
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    if text[:1] == "[" and text[-1:] == "]":
        return [parse_value(part) for part in split(text[1:-1], ",")]
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return value if isinstance(value, bool | int | float | str) else text


def print_value(value: Any) -> str:
    """The text that ``parse_value`` reads back."""
    if isinstance(value, list | tuple):
        return "[" + ",".join(print_value(item) for item in value) + "]"
    if isinstance(value, str):
        plain = value.isidentifier() and value.isascii() and parse_value(value) == value
        return value if plain else repr(value)
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return repr(value)


def split(text: str, separator: str) -> list[str]:
    """The parts between separators that stand outside of quotes and brackets; nothing for an empty text."""
    parts, depth, quote, start, escaped = [], 0, "", 0, False
    for index, character in enumerate(text):
        if quote:
            quote = "" if character == quote and not escaped else quote
            escaped = character == "\\" and not escaped
        elif character in QUOTES:
            quote = character
        elif character in OPENING:
            depth += 1
        elif character in CLOSING:
            depth -= 1
        elif character == separator and depth == 0:
            parts.append(text[start:index])
            start = index + 1
    parts.append(text[start:])
    return parts if text.strip() else []
