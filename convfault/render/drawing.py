"""SVG written by hand, where every mark needs a title of its own; colours are the page's classes, texts are escaped."""

from __future__ import annotations

from html import escape

from markupsafe import Markup

from convfault.render import wording

Value = str | int | float


def element(tag: str, *content: str, **attributes: Value) -> str:
    """An element; ``class_`` is its class, ``text_anchor`` is ``text-anchor``; ``content`` is markup already."""
    written = "".join(f' {name.rstrip("_").replace("_", "-")}="{_value(item)}"' for name, item in attributes.items())
    return f"<{tag}{written}>{''.join(content)}</{tag}>"


def text(content: str) -> str:
    """A text from anywhere, fit for SVG."""
    return escape(wording.printable(content))


def label(x: float, y: float, content: str, **attributes: Value) -> str:
    """A line of text."""
    return element("text", text(content), x=x, y=y, **attributes)


def titled(title: str, *content: str, **attributes: Value) -> str:
    """Marks with the words that appear when a pointer rests on them."""
    return element("g", element("title", text(title)), *content, **attributes)


def line(*points: tuple[float, float], **attributes: Value) -> str:
    """A line through all points."""
    return element("polyline", points=" ".join(f"{_value(x)},{_value(y)}" for x, y in points), **attributes)


def picture(name: str, description: str, size: tuple[float, float], *content: str, natural: bool = False) -> Markup:
    """The whole drawing, ``size`` wide and high in its own units. ``name`` is unique on the page.

    It fills the place that it has; a ``natural`` one is no wider than its size in pixels.
    """
    width, height = size
    head = element("title", text(description), id=f"{name}-title")
    return Markup(  # every text in it went through ``text``
        element(
            "svg",
            head,
            *content,
            role="img",
            aria_labelledby=f"{name}-title",
            class_="drawing natural" if natural else "drawing",
            width=width,
            height=height,
            viewBox=f"0 0 {_value(width)} {_value(height)}",
        )
    )


def power(exponent: int) -> str:
    """``10⁻⁵``."""
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def shorten(name: str, letters: int) -> str:
    """The end of a name, which tells more than its beginning."""
    return name if len(name) <= letters else f"…{name[-(letters - 1) :]}"


def _value(value: Value) -> str:
    return escape(f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value))
