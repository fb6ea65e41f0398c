"""The short, stable text of why a cell failed, so that cells with one cause group together.

What differs between two cells with one cause is taken out of the tool's message: addresses, paths, names of tensors
and nodes, shapes and counts. Names of operators, options and Python attributes stay, for they are the cause.
"""

from __future__ import annotations

import re

LENGTH = 140
ELLIPSIS = "…"

KNOWN = (
    (re.compile(r"operation_type='(\w+)', version=(\d+)"), r"\1-\2 not implemented"),
    (re.compile(r"'(tf\.\w+)' op is neither a custom op nor a flex op"), r"\1 not supported"),
    (re.compile(r"\"(SAME_\w+)\" auto_pad is not implemented"), r"auto_pad \1 not implemented"),
    (re.compile(r"Requested the deserialization of a `?(\w+)`? layer"), r"\1 layer cannot be read back"),
    (re.compile(r"\bkilled by (SIG\w+|signal \d+)"), r"killed by \1"),
    (re.compile(r"\bended with exit code (\d+)"), r"ended with exit code \1"),
)
"""Messages whose cause is a part of them, and the text that says it."""

VARIABLE = (
    (re.compile(r"\x1b\[[0-9;]*[A-Za-z]"), ""),
    (re.compile(r"<[^<>]*? at 0x[0-9a-fA-F]+>"), ELLIPSIS),
    (re.compile(r"\b0x[0-9a-fA-F]+\b"), ELLIPSIS),
    (re.compile(r"(?:\b\w:)?[\w.+@=-]*(?:[/\\][\w.+@=:-]+)+[/\\]?"), ELLIPSIS),
    (re.compile(r"[(\[]\s*(?:(?:-?\d+|None|\?)\s*[,x]?\s*)+[)\]]"), ELLIPSIS),
    (re.compile(r"\b[A-Za-z]+(?:_[A-Za-z]+)*_\d+\b"), ELLIPSIS),
    (re.compile(r"(?<![\w.-])-?\d+(?:\.\d+)*(?:e[+-]?\d+)?(?![\w.])"), "N"),
    (re.compile(rf"(?:N|{ELLIPSIS})(?:[\s,:;x]+(?:N|{ELLIPSIS}))+"), ELLIPSIS),
)
"""What varies from cell to cell, and what stands for it."""

QUOTED = re.compile(r"(['\"`])(.*?)\1")
WORD = re.compile(r"[A-Za-z_]+(?:\.[A-Za-z_]+)*")


def cause(tool: str, message: str) -> str:
    """The stable text of a failure's message, after the name of the tool (empty: none)."""
    text = known_cause(message) or stable(message)
    text = text if len(text) <= LENGTH else text[: LENGTH - 1].rstrip() + ELLIPSIS
    return f"{tool}: {text}" if tool else text


def known_cause(message: str) -> str:
    """The cause that a message of a known form names; empty for any other."""
    for pattern, text in KNOWN:
        if found := pattern.search(message):
            return found.expand(text)
    return ""


def stable(message: str) -> str:
    """The first line of a message without what differs between cells of one cause."""
    line = next((line for line in message.splitlines() if line.strip()), "no message")
    line = QUOTED.sub(lambda found: f"'{found[2] if _is_word(found[2]) else ELLIPSIS}'", line)
    for pattern, text in VARIABLE:
        line = pattern.sub(text, line)
    return " ".join(line.split())


def _is_word(text: str) -> bool:
    """Whether a quoted text is a name that code uses (an attribute, an option) rather than one of the model's."""
    dotted = text.count(".") > 1
    return WORD.fullmatch(text) is not None and not dotted
