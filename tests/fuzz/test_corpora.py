"""What was found by fuzzing, and what is like it, does no harm."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.targets import CORPUS, TARGETS

#: Examples of each target.
EXAMPLES = int(os.environ.get("CRUDS_TEST_EXAMPLES", "60"))

FILES = sorted(path for path in CORPUS.glob("*/*") if path.parent.name in TARGETS)

#: Long ones: the time that they take must not grow with the square of their length.
LONG: list[Callable[[int], bytes]] = [
    lambda size: b'"' + b'\\"' * (size // 2),
    lambda size: b'"' * size,
    lambda size: b"a=" * (size // 2),
    lambda size: b"Digest " + b'a="' * (size // 3),
    lambda size: b"attachment; filename=" + b";" * size,
    lambda size: b"attachment; filename=a." + b"x" * size,
    lambda size: b"attachment; " + b'filename*0="a";' * (size // 15),
    lambda size: b"a" * size,
    lambda size: b"," * size,
    lambda size: b"application/json\n" + b"[" * size,
    lambda size: b"application/json\n" + b"9" * size,
    lambda size: b"http://h/?" + b"a&" * (size // 2),
    lambda size: b"/" * size,
    lambda size: b"%2e%2e/" * (size // 7),
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_an_input_of_the_corpus(path: Path) -> None:
    """Each input that is kept is read, or refused by the error that is for it."""
    TARGETS[path.parent.name](path.read_bytes())


def test_each_target_has_a_corpus() -> None:
    """No target is without inputs, and none of them is large."""
    assert {path.parent.name for path in FILES} == set(TARGETS)
    assert all(path.stat().st_size <= 4096 for path in FILES)


def cut(text: bytes, start: int, end: int) -> bytes:
    """Returns a part of an input."""
    return text[start:end]


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_like_the_corpus(name: str) -> None:
    """Parts of the inputs, put together anew with bytes between, are read or refused, too."""
    kept = [path.read_bytes() for path in FILES if path.parent.name == name]
    whole = st.sampled_from(kept)
    part = st.builds(cut, whole, st.integers(0, 40), st.integers(0, 200))
    piece = whole | part | st.binary(max_size=6)

    @settings(max_examples=EXAMPLES, database=None)
    @given(st.lists(piece, min_size=1, max_size=5))
    def check(pieces: list[bytes]) -> None:
        TARGETS[name](b"".join(pieces))

    check()


@pytest.mark.parametrize("name", TARGETS)
def test_a_long_input_takes_no_long_time(name: str) -> None:
    """64 KiB of anything, as one header may have them, are read in less than 10 s of the processor."""
    for number, make in enumerate(LONG):
        start = time.process_time()
        TARGETS[name](make(1 << 16))
        assert time.process_time() - start < 10, f"input {number}"
