"""Sealing: texts for this process alone, and records for others that have the key."""

import base64
import copy
import json
import pickle
import time
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet

from cruds_auth_oauth2.encryption import BrokenSealError, Keys, Sealed
from cruds_core import AuthError

FERNET_KEY = base64.urlsafe_b64encode(b"a" * 32).decode()
TEXT_KEY = "correct horse battery staple, é"
RECORD = {"state": 'a "quoted" é\u2028', "empty": ""}


def ring(keys: Any) -> Keys:
    """Returns the keys of one client."""
    return Keys(keys, "a-client at https://auth.example.com/token")


any_key = pytest.mark.parametrize("key", [FERNET_KEY, TEXT_KEY], ids=["fernet", "text"])


# For this process


def parts(sealed: Sealed) -> tuple[bytes, bytes]:
    """Returns what a sealed text is made of."""
    read = object.__getattribute__
    return read(sealed, "_box"), read(sealed, "_purpose")


def made_of(box: bytes, purpose: bytes) -> Sealed:
    """Returns a sealed text made of these."""
    sealed = Sealed("", "")
    object.__setattr__(sealed, "_box", box)
    object.__setattr__(sealed, "_purpose", purpose)
    return sealed


@pytest.mark.parametrize(
    "text", ["", "secret", "é\0\n 🙂", "x" * 100_000], ids=["empty", "word", "any", "long"]
)
def test_sealed_text_opens(text: str) -> None:
    """A text comes out as it went in, as often as it is asked for."""
    sealed = Sealed(text, "test")
    assert (sealed.open(), sealed.open()) == (text, text)


def test_sealed_text_is_not_there() -> None:
    """What is kept holds nothing of the text, and no two seals of it are alike."""
    boxes = {parts(Sealed("visible", "test"))[0] for _ in range(100)}
    assert len({box[:12] for box in boxes}) == 100  # the nonces
    assert not any(b"visible" in box for box in boxes)


def test_sealed_text_opens_as_what_it_is() -> None:
    """A text that was sealed for one purpose cannot be taken for another."""
    box, purpose = parts(Sealed("secret", "access token"))
    assert made_of(box, purpose).open() == "secret"
    with pytest.raises(InvalidTag):
        made_of(box, b"refresh token").open()


def test_sealed_text_cannot_be_changed() -> None:
    """Each bit of nonce, text and tag counts."""
    box, purpose = parts(Sealed("secret", "test"))
    for index in range(len(box)):
        other = bytearray(box)
        other[index] ^= 1
        with pytest.raises(InvalidTag):
            made_of(bytes(other), purpose).open()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_sealed_text_is_not_pickled(protocol: int) -> None:
    """It is of no use elsewhere, and a pickle is a way out: TypeError."""
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(Sealed("secret", "test"), protocol)


def test_sealed_text_shows_nothing() -> None:
    """Neither repr nor str says what is sealed, or for what."""
    sealed = Sealed("secret", "test")
    assert repr(sealed) == str(sealed) == f"{sealed}" == "***"


def test_sealed_text_is_its_own_copy() -> None:
    """A copy of what holds it holds the same one."""
    sealed = Sealed("secret", "test")
    assert copy.copy(sealed) is sealed
    assert copy.deepcopy([sealed])[0] is sealed


# For others


@any_key
@pytest.mark.parametrize("lifetime", [None, 600])
def test_record_opens(key: str, lifetime: int | None) -> None:
    """A record comes out as it went in, at any Keys with the key."""
    assert ring(key).open("test", ring([key]).seal("test", RECORD), lifetime) == RECORD


@any_key
def test_record_is_not_there(key: str) -> None:
    """A sealed record is ASCII for a header or a cookie, shows nothing, and is another one each time."""
    keys = ring(key)
    sealed = {keys.seal("test", {"state": "visible"}) for _ in range(20)}
    assert len(sealed) == 20
    for one in sealed:
        assert one.isascii()
        assert b"visible" not in base64.urlsafe_b64decode(one)


@any_key
@pytest.mark.parametrize("purpose", ["", "tes", "test2", '["test"]'])
def test_record_is_for_one_purpose(key: str, purpose: str) -> None:
    """A record that was sealed for one purpose opens for no other."""
    keys = ring(key)
    with pytest.raises(BrokenSealError, match="purpose"):
        keys.open(purpose, keys.seal("test", RECORD))


def test_fernet_key_is_used_as_it_is() -> None:
    """What a Fernet key seals is a plain Fernet token, for tools that know the key."""
    sealed = ring(FERNET_KEY).seal("test", RECORD)
    assert json.loads(Fernet(FERNET_KEY).decrypt(sealed)) == ["test", RECORD]


def test_text_is_stretched() -> None:
    """What another text seals does not open under a hash of it that takes no time, or the text itself."""
    sealed = ring(TEXT_KEY).seal("test", RECORD)
    for keys in (ring("correct horse"), ring(FERNET_KEY), ring(TEXT_KEY + " ")):
        with pytest.raises(BrokenSealError):
            keys.open("test", sealed)


def test_another_context_is_another_key() -> None:
    """The same text seals otherwise for another client, and one guess does not serve for both."""
    for key, opens in ((TEXT_KEY, False), (FERNET_KEY, True)):
        sealed = Keys(key, "one").seal("test", RECORD)
        if opens:
            assert Keys(key, "two").open("test", sealed) == RECORD
        else:
            with pytest.raises(BrokenSealError):
                Keys(key, "two").open("test", sealed)


@pytest.mark.parametrize("count", [1, 17])
def test_what_is_sent_stretches_nothing(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Whatever a browser sends, no key is stretched once more for it, however many there are."""
    keys = ring([TEXT_KEY, *(f"key {number}" for number in range(1, count))])
    sealed = keys.seal("test", RECORD)
    with pytest.raises(BrokenSealError):
        keys.open("another", sealed)  # by none of them: each is tried
    monkeypatch.setattr("hashlib.scrypt", pytest.fail)
    for other in (f"{'A' * 22}==.{sealed}", sealed + sealed, f".{sealed}", sealed[:-1], "A" * 1000):
        with pytest.raises(BrokenSealError):
            keys.open("test", other)


@any_key
@pytest.mark.parametrize(("age", "lifetime", "opens"), [(9, 10, True), (12, 10, False), (10**9, None, True)])
def test_record_expires(
    key: str, age: int, lifetime: int | None, opens: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record lives as long as who opens it allows; without a lifetime, for ever."""
    keys, now = ring(key), time.time
    sealed = keys.seal("test", RECORD)
    monkeypatch.setattr(time, "time", lambda: now() + age)
    if opens:
        assert keys.open("test", sealed, lifetime) == RECORD
    else:
        with pytest.raises(BrokenSealError, match="too old"):
            keys.open("test", sealed, lifetime)


@pytest.mark.parametrize(
    "keys", [[TEXT_KEY, FERNET_KEY], [FERNET_KEY, TEXT_KEY], ("other", TEXT_KEY, FERNET_KEY)]
)
def test_any_key_opens_and_the_first_seals(keys: Any) -> None:
    """Of several keys the first one seals, and each one opens."""
    several = ring(keys)
    for key in keys:
        assert several.open("test", ring(key).seal("test", RECORD)) == RECORD
    sealed = several.seal("test", RECORD)
    assert ring(keys[0]).open("test", sealed) == RECORD
    with pytest.raises(BrokenSealError):
        ring(keys[1:]).open("test", sealed)


def test_callable_is_asked_at_each_use() -> None:
    """A key from a callable can change; what was sealed under it before needs the old one."""
    answers = [FERNET_KEY, TEXT_KEY]
    keys = ring(lambda: answers[0])
    sealed = keys.seal("test", RECORD)
    assert keys.open("test", sealed) == RECORD
    answers.reverse()
    with pytest.raises(BrokenSealError):
        keys.open("test", sealed)


@pytest.mark.parametrize("answer", ["", None, 5, FERNET_KEY.encode(), "two\nlines"])
def test_callable_must_return_a_key(answer: Any) -> None:
    """A callable that returns no key is an AuthError, and never the key that nothing would make."""
    with pytest.raises(AuthError, match="encryption_key"):
        ring(lambda: answer).seal("test", RECORD)
    for sealed in (ring(FERNET_KEY).seal("test", RECORD), ring(TEXT_KEY).seal("test", RECORD)):
        with pytest.raises(AuthError, match="encryption_key"):
            ring(lambda: answer).open("test", sealed)


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ("", ValueError),
        ([], ValueError),
        (["", TEXT_KEY], ValueError),
        ([TEXT_KEY, ""], ValueError),
        ("line\n", ValueError),
        (5, TypeError),
        (FERNET_KEY.encode(), TypeError),
        ([FERNET_KEY.encode()], TypeError),
        ({FERNET_KEY}, TypeError),
        ({"key": FERNET_KEY}, TypeError),
        ([None], TypeError),
        ([[TEXT_KEY]], TypeError),
    ],
)
def test_what_is_no_key_is_refused(keys: Any, error: type[Exception]) -> None:
    """A key that could not seal is refused when it is given, and not shown."""
    with pytest.raises(error, match="encryption_key") as caught:
        ring(keys)
    assert FERNET_KEY not in str(caught.value)
