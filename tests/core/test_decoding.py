"""JSON that is read with orjson, and must read the same without."""

import json
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers.nginx import document

from cruds_core import decoding
from cruds_core.decoding import load_json

DEEP = 200  # levels, which both can read


def outcome(load: Callable[[bytes], Any], content: bytes) -> str:
    """Returns what comes out, to the last bit and type: equal would be 1, 1.0 and True."""
    try:
        return repr(load(content))
    except (ValueError, RecursionError):
        return "an error"


def assert_same(content: bytes) -> None:
    """What comes out, or that nothing does, is as with the standard library."""
    assert outcome(load_json, content) == outcome(json.loads, content)


@pytest.fixture
def standard(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """There is no orjson."""
    monkeypatch.setitem(sys.modules, "orjson", None)
    decoding.orjson_loads.cache_clear()
    yield
    decoding.orjson_loads.cache_clear()


@pytest.mark.parametrize(
    "content",
    [
        b"NaN",
        b"[Infinity, -Infinity]",
        b"1e400",
        b"-1e400",
        b"1e-400",
        b"-0",
        b"-0.0",
        b"18446744073709551615",
        b"18446744073709551616",
        b"-9223372036854775808",
        b"-9223372036854775809",
        b"9" * 400,
        b"9" * 5000,
        b"1234567890123456789012.5",
        b'{"a": 1, "b": 2, "a": 3}',
        b'"\\ud800"',
        b'{"\\udfff": 1}',
        b'"\\ud83d\\ude00"',
        b'"\xed\xa0\x80"',
        b'"\xff"',
        b"\xef\xbb\xbf{}",
        '"ü"'.encode("utf-16"),
        '"ü"'.encode("utf-16-le"),
        '"ü"'.encode("utf-32-be"),
        b"1\x00",
        b'"\x00"',
        b'"\t"',
        b'"\x7f"',
        b"\x0b1",
        b"01",
        b"1.",
        b".5",
        b"[1,]",
        b'{"a": 1,}',
        b"{a: 1}",
        b"[1] 2",
        b"[" * DEEP + b"]" * DEEP,
        b"[" * 100_000 + b"]" * 100_000,
        document(10_000),
    ],
)
def test_odd_json(content: bytes) -> None:
    """What the two libraries might read in two ways is read as by the standard library."""
    assert_same(content)


numbers = st.from_regex(r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
)


@given(numbers)
def test_any_number(text: str) -> None:
    """A number is the same with and without orjson, as it stands and in a document."""
    assert_same(text.encode())
    assert_same(f'{{"a": [{text}, "{text}"]}}'.encode())


@given(values, st.booleans())
def test_any_value(value: Any, ensure_ascii: bool) -> None:
    """Whatever is written as JSON is read the same with and without orjson."""
    assert_same(json.dumps(value, ensure_ascii=ensure_ascii).encode("utf-8", "surrogatepass"))


@given(
    st.binary()
    | st.lists(st.sampled_from('{}[],:"\\ u0d8e1.-+aN')).map(lambda pieces: "".join(pieces).encode())
)
def test_any_bytes(content: bytes) -> None:
    """Any bytes are JSON with orjson exactly where they are without."""
    assert_same(content)


def test_orjson_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary document is read by orjson alone."""
    monkeypatch.delattr(json, "loads")
    assert load_json(document(10_000)) == orjson.loads(document(10_000))


@pytest.mark.usefixtures("standard")
def test_without_orjson() -> None:
    """Without orjson the standard library reads."""
    assert load_json(b'{"a": [1, 2.5]}') == {"a": [1, 2.5]}
    assert math.isnan(load_json(b"NaN"))
