"""Sealing: of what stays in this process, and of what leaves it."""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import json
import os
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
_SALT = 16  # bytes

_process_key = AESGCM(AESGCM.generate_key(256))
_process_salt = os.urandom(_SALT)


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

    Raises:
        TypeError: One is neither a str nor callable.
        ValueError: There is none, or one is empty.
    """

    def __init__(self, keys: SecretSource | Sequence[SecretSource]) -> None:
        sources = [keys] if isinstance(keys, str) or callable(keys) else keys
        if not isinstance(sources, (list, tuple)):
            msg = f"encryption_key must be a str, a callable or a list of these (got {type(keys).__name__})"
            raise TypeError(msg)
        if not sources or "" in sources:
            msg = "encryption_key must not be empty; make one with cryptography.fernet.Fernet.generate_key()"
            raise ValueError(msg)
        self._keys = [Secret(source, "encryption_key") for source in sources]

    def seal(self, purpose: str, record: dict[str, str]) -> str:
        """A record as a text for a cookie, a header or a file.

        Args:
            purpose: What the record is for; it can be opened for nothing else.
            record: The record.
        """
        key = _revealed(self._keys[0])
        salt = b"" if _is_fernet(key) else _process_salt
        sealed = _fernet(key, salt).encrypt(json.dumps([purpose, record]).encode()).decode()
        return f"{base64.urlsafe_b64encode(salt).decode()}.{sealed}" if salt else sealed

    def open(self, purpose: str, sealed: str, lifetime: int | None = None) -> SecretDict:
        """The record.

        Args:
            purpose: What it is for.
            sealed: What `seal` returned, here or in another process with one of the keys.
            lifetime: Seconds after which it is no longer accepted; None for never.

        Raises:
            BrokenSealError: It is none of ours, for something else, or too old.
        """
        given = SecretBytes(sealed.encode("ascii", "replace"))
        salt, dot, token = map(SecretBytes, given.rpartition(b"."))
        for fernet in self._candidates(salt if dot else None):
            # A key that seals other things, too, opens them as well.
            with suppress(InvalidToken, ValueError, RecursionError):
                found = json.loads(fernet.decrypt(token, ttl=lifetime), object_pairs_hook=_record)
                if isinstance(found, list) and found[:1] == [purpose] and isinstance(found[-1], SecretDict):
                    return found[-1]
        msg = "it is not sealed under encryption_key for this purpose, or is too old"
        raise BrokenSealError(msg)

    def _candidates(self, salt: bytes | None) -> Iterator[Fernet]:
        try:
            decoded = b"" if salt is None else base64.b64decode(salt, b"-_", validate=True)
        except binascii.Error:
            return
        if len(decoded) != (0 if salt is None else _SALT):
            return
        for secret in self._keys:
            key = _revealed(secret)
            if _is_fernet(key) is not bool(decoded):
                yield _fernet(key, decoded)


def _revealed(secret: Secret) -> SecretText:
    key = secret.reveal()
    if not key:
        msg = "what the callable given as encryption_key returned is empty"
        raise AuthError(msg)
    return key


def _record(pairs: list[tuple[str, Any]]) -> SecretDict:
    return SecretDict((name, hidden(value)) for name, value in pairs)


def _is_fernet(key: str) -> bool:
    try:
        Fernet(key)
    except ValueError:
        return False
    return True


@functools.lru_cache(maxsize=64)
def _fernet(key: SecretText, salt: bytes) -> Fernet:
    if not salt:
        return Fernet(key)
    return Fernet(base64.urlsafe_b64encode(hashlib.scrypt(key.encode(), salt=salt, dklen=32, **_SCRYPT)))
