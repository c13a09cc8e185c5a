"""Sealing: of what stays in this process, and of what leaves it."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cruds_core import AuthError, Secret
from cruds_core.secret import MASK, SecretBytes, SecretDict, SecretText, hidden

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cruds_core import SecretSource

_NONCE = 12  # bytes (NIST SP 800-38D, section 8.2.2: random nonces of 96 bits)

# RFC 7914, section 2: 16 MiB and some 50 ms.
_SCRYPT = {"n": 1 << 14, "r": 8, "p": 1}

_TOKEN = re.compile(rb"[A-Za-z0-9_-]+={0,2}")

_process_key = AESGCM(AESGCM.generate_key(256))


class Sealed:
    """A text that only this process can read: AES-256-GCM under a key that it made when it started.

    Args:
        text: The text.
        purpose: What it is; it cannot be opened as anything else.
    """

    __slots__ = ("_box", "_purpose")

    def __init__(self, text: str, purpose: str) -> None:
        nonce = os.urandom(_NONCE)
        self._box = nonce + _process_key.encrypt(nonce, text.encode(), purpose.encode())
        self._purpose = purpose.encode()

    def open(self) -> SecretText:
        """The text."""
        return SecretText(
            _process_key.decrypt(self._box[:_NONCE], self._box[_NONCE:], self._purpose).decode()
        )

    def __repr__(self) -> str:
        return MASK

    def __reduce__(self) -> str:
        msg = "a token is never pickled: it is a secret, and sealed for this process alone"
        raise TypeError(msg)

    def __copy__(self) -> Sealed:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Sealed:
        return self


class BrokenSealError(ValueError):
    """A record that was not sealed under our keys and for this purpose, or is too old."""


class Keys:
    """The keys for records that leave the process: Fernet, under the first of them.

    Args:
        keys: Each a Fernet key, used as it is, or any other text, stretched by scrypt; or a callable that
            returns one of these, asked at each use. All of them open, the first one seals.
        context: What the keys are for. It is the salt: one that came with a record would let whoever sends
            records make us stretch a key for each.

    Raises:
        TypeError: One is neither a str nor callable.
        ValueError: There is none, or one is empty.
    """

    def __init__(self, keys: SecretSource | Sequence[SecretSource], context: str) -> None:
        sources = [keys] if isinstance(keys, str) or callable(keys) else keys
        if not isinstance(sources, (list, tuple)):
            hint = ", which .decode() makes of bytes" if isinstance(keys, bytes) else ""
            kind = type(keys).__name__
            msg = f"encryption_key must be a str{hint}, a callable or a list of these (got {kind})"
            raise TypeError(msg)
        if not sources or any(isinstance(source, str) and not source for source in sources):
            msg = "encryption_key must not be empty; make one with cryptography.fernet.Fernet.generate_key()"
            raise ValueError(msg)
        self._keys = [Secret(source, "encryption_key") for source in sources]
        self._salt = hashlib.sha256(context.encode()).digest()

    def seal(self, purpose: str, record: dict[str, str]) -> str:
        """A record as a text for a cookie, a header or a file.

        Args:
            purpose: What the record is for; it can be opened for nothing else.
            record: The record.
        """
        fernet = next(self._fernets())
        return fernet.encrypt(json.dumps([purpose, record]).encode()).decode()

    def open(self, purpose: str, sealed: str, lifetime: int | None = None) -> SecretDict:
        """The record.

        Args:
            purpose: What it is for.
            sealed: What `seal` returned, here or in another process with one of the keys.
            lifetime: Seconds after which it is no longer accepted; None for never.

        Raises:
            BrokenSealError: It is none of ours, for something else, or too old.
        """
        token = SecretBytes(sealed.encode("ascii", "replace"))
        # base64 of the standard library would pass over what follows its end.
        for fernet in self._fernets() if _TOKEN.fullmatch(token) else ():
            # A key that seals other things, too, opens them as well.
            with suppress(InvalidToken, ValueError, RecursionError):
                return read_record(purpose, SecretBytes(fernet.decrypt(token, ttl=lifetime)))
        msg = "it is not sealed under encryption_key for this purpose, or is too old"
        raise BrokenSealError(msg)

    def _fernets(self) -> Iterator[Fernet]:
        for secret in self._keys:
            key = secret.reveal()
            if not key:
                msg = "what the callable given as encryption_key returned is empty"
                raise AuthError(msg)
            yield _fernet(key, self._salt)


def read_record(purpose: str, text: str | bytes) -> SecretDict:
    """The record in what was sealed, or in what needs no seal.

    Raises:
        BrokenSealError: It is none, or for something else.
    """
    with suppress(ValueError, RecursionError):
        found = json.loads(text, object_pairs_hook=_record)
        if isinstance(found, list) and found[:1] == [purpose] and isinstance(found[-1], SecretDict):
            return found[-1]
    msg = "it is no record for this purpose"
    raise BrokenSealError(msg)


def _record(pairs: list[tuple[str, Any]]) -> SecretDict:
    return SecretDict((name, hidden(value)) for name, value in pairs)


@functools.lru_cache(maxsize=1024)  # keys of all clients of a program, and those that were changed
def _fernet(key: SecretText, salt: bytes) -> Fernet:
    try:
        return Fernet(key)
    except ValueError:  # any other text
        return Fernet(base64.urlsafe_b64encode(hashlib.scrypt(key.encode(), salt=salt, dklen=32, **_SCRYPT)))
