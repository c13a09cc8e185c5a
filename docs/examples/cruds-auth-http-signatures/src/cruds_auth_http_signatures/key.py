"""The key that requests are signed with."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, cast

from cruds_core import AuthError, Secret
from cryptography.exceptions import UnsupportedAlgorithm
from http_message_signatures import algorithms
from http_message_signatures.exceptions import HTTPMessageSignaturesException

if TYPE_CHECKING:
    from cruds_core import SecretSource

#: The algorithms of RFC 9421, section 3.3, by their names, which the library gives its classes, too.
ALGORITHMS: dict[str, Any] = {
    name: getattr(algorithms, name.upper().replace("-", "_"))
    for name in (
        "ed25519",
        "ecdsa-p256-sha256",
        "ecdsa-p384-sha384",
        "rsa-pss-sha512",
        "rsa-v1_5-sha256",
        "hmac-sha256",
    )
}


class Key:
    """A private key or a shared secret, read anew only when its text changes.

    It is pickled as the callable that returns it; a key that has been read never is.

    Args:
        source: A private key in PEM, for ``hmac-sha256`` the secret in base64, or a callable that returns it.
        algorithm: The algorithm it is for.

    Raises:
        TypeError: ``source`` is neither a str nor callable.
        ValueError: ``algorithm`` is unknown, or ``source`` is no key for it.
    """

    def __init__(self, source: SecretSource, algorithm: str) -> None:
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            msg = f"algorithm must be one of {', '.join(ALGORITHMS)} (got {algorithm!r})"
            raise ValueError(msg)
        self.algorithm = algorithm
        self._secret = Secret(source, "key", lines=True)
        self._read: tuple[str, Any] | None = None
        if isinstance(source, str) and self._signer(self._secret.reveal()) is None:
            msg = f"key {self._fault}"
            raise ValueError(msg)

    def sign(self, data: bytes) -> bytes:
        """The signature of ``data``.

        Raises:
            AuthError: The callable did not return a key.
        """
        signer = self._signer(self._secret.reveal())
        if signer is None:
            msg = f"what the callable given as key returned {self._fault}"
            raise AuthError(msg)
        return cast("bytes", signer.sign(data))

    def _signer(self, text: str) -> Any:
        """What signs with the key, or None if the text is no key. To read one of RSA takes 80 ms."""
        read = self._read
        if read is None or read[0] != text:
            try:
                data = text.encode()
                if self.algorithm == "hmac-sha256":
                    data = base64.b64decode(b"".join(data.split()), validate=True)
                signer = ALGORITHMS[self.algorithm](private_key=data) if data else None
            except (HTTPMessageSignaturesException, UnsupportedAlgorithm, TypeError, ValueError):
                return None  # what they say may quote the key
            read = self._read = (text, signer)
        return read[1]

    @property
    def _fault(self) -> str:
        if self.algorithm == "hmac-sha256":
            return "is empty or not base64; encode the secret with base64.b64encode()"
        return f"is no private key for {self.algorithm}; give one in PEM that is not encrypted"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_read": None}

    def __repr__(self) -> str:
        return "***"
