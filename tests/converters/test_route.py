"""Routes are values with a readable form, and say what is missing when there is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convfault.converters import CONVERTERS
from convfault.converters.options import parse_options, parse_value, print_value
from convfault.converters.route import FRAMEWORKS, Hop, Route, all_routes, default, parse
from convfault.errors import RouteError, UnknownNameError, UsageError

EVERY_ROUTE = [route for source in FRAMEWORKS for target in FRAMEWORKS for route in all_routes(source, target, 4)]

texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=12)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), texts)


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("tf", "tflite", "tf>tflite:tflite_converter"),
        ("keras", "tflite", "keras>tflite:tflite_converter"),
        ("keras", "tf", "keras>tf:keras_export"),
        ("keras", "onnx", "keras>onnx:tf2onnx"),
        ("torch", "onnx", "torch>onnx:torch_onnx"),
        ("tf", "torch", "tf>onnx:tf2onnx>torch:onnx2torch"),
        ("keras", "torch", "keras>onnx:tf2onnx>torch:onnx2torch"),
        ("tflite", "torch", "tflite>onnx:tf2onnx>torch:onnx2torch"),
        ("torch", "torch", "torch>onnx:torch_onnx>torch:onnx2torch"),
        ("onnx", "onnx", "onnx>torch:onnx2torch>onnx:torch_onnx"),
        ("torch", "keras", "torch>keras:nobuco"),
        ("torch", "tf", "torch>tf:nobuco"),
        ("torch", "tflite", "torch>tflite:litert-torch"),
        ("tf", "keras", "tf>onnx:tf2onnx>keras:onnx2tf"),
        ("tflite", "keras", "tflite>onnx:tf2onnx>keras:onnx2tf"),
        ("tflite", "tf", "tflite>onnx:tf2onnx>tf:onnx2tf"),
    ],
)
def test_the_default_route_is_the_shortest_by_the_preferred_tools(source: str, target: str, expected: str) -> None:
    assert str(default(source, target)) == expected
    assert all_routes(source, target)[0] == default(source, target)


@pytest.mark.parametrize("route", EVERY_ROUTE, ids=str)
def test_every_route_reads_back_as_it_prints(route: Route) -> None:
    assert parse(str(route)) == route


@given(st.sampled_from([route for route in EVERY_ROUTE if route.hops[0].converter.options]), st.data())
def test_a_route_with_options_reads_back_as_it_prints(route: Route, data: st.DataObject) -> None:
    converter = route.hops[0].converter
    kinds = {"text": texts, "integer": st.integers(), "flag": st.booleans(), "number": st.floats(allow_nan=False)}
    options = {}
    for name, option in converter.options.items():
        one = st.sampled_from(option.choices) if option.choices else kinds[option.kind]
        options[name] = data.draw(st.lists(one, max_size=3) if option.many else one)
    with_options = Route((Hop(converter, options), *route.hops[1:]))
    assert parse(str(with_options)) == with_options


@given(scalars | st.lists(scalars, max_size=4))
def test_every_value_reads_back_as_it_prints(value: object) -> None:
    assert parse_value(print_value(value)) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("17", 17),
        ("0.5", 0.5),
        ("True", True),
        ("false", False),
        ("none", None),
        ("DEFAULT", "DEFAULT"),
        ("[DEFAULT, 'a,b', 3]", ["DEFAULT", "a,b", 3]),
        ("[]", []),
        ("(1, 2)", "(1, 2)"),
        ("rs4,rs5", "rs4,rs5"),
        ("", ""),
    ],
)
def test_values_are_literals_and_bare_words_are_text(text: str, value: object) -> None:
    assert parse_value(text) == value


def test_a_tool_that_is_left_out_is_the_preferred_one() -> None:
    assert str(parse(" torch > onnx > torch ")) == "torch>onnx:torch_onnx>torch:onnx2torch"


def test_all_routes_take_every_tool_and_pass_no_framework_twice() -> None:
    routes = [str(route) for route in all_routes("torch", "torch", max_hops=2)]
    assert routes == [
        "torch>onnx:torch_onnx>torch:onnx2torch",
        "torch>onnx:torch_onnx_torchscript>torch:onnx2torch",
    ]
    longer = [str(route) for route in all_routes("torch", "torch", max_hops=3)]
    assert longer[:2] == routes
    assert "torch>tflite:litert-torch>onnx:tf2onnx>torch:onnx2torch" in longer
    for route in all_routes("keras", "torch", max_hops=4):
        passed = ["keras", *(hop.converter.target for hop in route.hops)]
        assert len(set(passed)) == len(passed)


def test_every_pair_of_the_four_frameworks_has_two_routes_or_more() -> None:
    four = ("torch", "keras", "tf", "tflite")
    counts = {(a, b): len(all_routes(a, b)) for a in four for b in four if a != b}
    assert len(counts) == 12
    assert min(counts.values()) >= 2


@pytest.mark.parametrize("text", ["tf>onnx:tf2onnx==1.13.0", "tf>tflite>onnx:tf2onnx==1.16.1[opset=13]"])
def test_a_release_of_a_tool_is_part_of_the_route(text: str) -> None:
    route = parse(text)
    assert parse(str(route)) == route
    assert "tf2onnx==1." in str(route)
    assert route.hops[-1].converter.versions()["tf2onnx"] == route.hops[-1].converter.version
    assert route.hops[-1].converter.home() is not None


def test_releases_go_to_every_hop_by_their_tool() -> None:
    route = parse("tf>tflite>onnx").with_versions({"tf2onnx": "1.13.0"})
    assert str(route) == "tf>tflite:tflite_converter>onnx:tf2onnx==1.13.0"
    with pytest.raises(UsageError, match=r"tf2onnx==1.13.0 was asked for, but no hop of the route tf>tflite"):
        parse("tf>tflite").with_versions({"tf2onnx": "1.13.0"})


def test_the_release_that_is_there_needs_no_other_environment() -> None:
    usual = parse("tf>onnx:tf2onnx").hops[0].converter
    asked = parse(f"tf>onnx:tf2onnx=={usual.versions()['tf2onnx']}").hops[0].converter
    assert asked.home() is None
    assert asked.versions() == usual.versions()


def test_a_pair_without_a_route_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convfault.converters.route.CONVERTERS", {})
    with pytest.raises(RouteError, match=r"leads from torch to tf; .*convfault diff SOURCE TARGET"):
        default("torch", "tf")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tf>onnx:tf2onxx", "unknown tool 'tf2onxx'; did you mean 'tf2onnx'"),
        ("tf>tflit", "unknown framework 'tflit'; did you mean 'tflite'"),
        ("pytorch>onnx", "unknown framework 'pytorch'; did you mean 'torch'"),
        ("", "unknown framework ''"),
        ("tf", "has no hop: write for example tf>onnx"),
        ("tf>torch", "from tf to torch in one hop; write tf>onnx:tf2onnx>torch:onnx2torch"),
        ("tf>keras", "from tf to keras in one hop; write tf>onnx:tf2onnx>keras:onnx2tf"),
        ("tf>onnx:tf2onnx==", "names no version"),
        ("tf>onnx:tf2onx==1.13.0", "did you mean 'tf2onnx'"),
        ("torch>onnx:tf2onnx", "tf2onnx does not convert torch to onnx; what does: torch_onnx, torch_onnx_torchscript"),
        ("tf>onnx[opset=17", "opens a bracket"),
        ("tf>onnx[opset]", "not of the form option=value"),
        ("tf>onnx[opzet=1]", "unknown option of tf2onnx 'opzet'; did you mean 'opset'"),
        ("tf>onnx[opset=high]", "tf2onnx.opset takes an integer, not 'high'"),
    ],
)
def test_a_route_that_cannot_be_read_is_explained(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("[", r"\[")):
        parse(text)


def test_options_go_to_every_hop_by_their_tool_that_has_them() -> None:
    options = parse_options(["tf2onnx.opset=17", "tflite_converter.optimizations=DEFAULT"])
    assert options == {"tf2onnx": {"opset": 17}, "tflite_converter": {"optimizations": ["DEFAULT"]}}
    route = parse("tf>tflite>onnx").with_options(options)
    assert str(route) == "tf>tflite:tflite_converter[optimizations=[DEFAULT]]>onnx:tf2onnx[opset=17]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tflite_convertr.optimizations=DEFAULT", "unknown tool 'tflite_convertr'; did you mean 'tflite_converter'"),
        ("tflite_converter.optimisations=DEFAULT", "did you mean 'optimizations'"),
        ("tflite_converter.optimizations=DEFAULTS", "unknown value of .*'DEFAULTS'; did you mean 'DEFAULT'"),
        ("tf2onnx.opset=high", "takes an integer, not 'high'"),
        ("tf2onnx.opset=true", "takes an integer, not True"),
        ("tf2onnx.inputs_as_nchw=1", "takes a flag, not 1"),
        ("tf2onnx.opset", "not of the form"),
        ("opset=17", "not of the form"),
    ],
)
def test_an_option_that_cannot_be_read_is_explained(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_options([text])


def test_an_option_of_a_tool_that_the_route_does_not_take_is_refused() -> None:
    with pytest.raises(UsageError, match=r"tf2onnx.opset was given, but no hop of the route tf>tflite"):
        parse("tf>tflite").with_options({"tf2onnx": {"opset": 17}})
    with pytest.raises(UsageError, match="dequantize"):
        parse("tf>onnx").with_options({"tf2onnx": {"dequantize": True}})


def test_unknown_names_are_their_own_error() -> None:
    with pytest.raises(UnknownNameError):
        default("caffe", "tf")


def test_every_converter_declares_options_that_take_their_own_defaults() -> None:
    for converter in CONVERTERS.values():
        assert converter.tool == next(name for name in CONVERTERS if CONVERTERS[name] is converter).split("/")[0]
        assert converter.with_defaults({}) == converter.with_defaults(converter.with_defaults({}))
        assert all(option.description for option in converter.options.values())
