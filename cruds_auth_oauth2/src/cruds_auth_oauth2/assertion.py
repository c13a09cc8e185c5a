"""Assertions that prove a client by its private key (RFC 7523): the method private_key_jwt."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cruds_core import AuthError, Secret
from cruds_core.secret import SecretText

if TYPE_CHECKING:
    from cruds_core import SecretSource

#: RFC 7523, section 2.2
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

_LIFETIME = 60  # seconds

# RFC 7518, section 3.1, and RFC 8037, section 3.1
_ALGORITHMS = {"RSA": "RS256", "P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "EdDSA"}


class PrivateKey:
    """A private key that signs assertions.

    Args:
        source: The key in PEM (PKCS #8, unencrypted) or as a JWK (RFC 7517), or a callable that returns it.
        key_id: The ``kid`` by which the authorization server knows the key; that of the JWK unless given.

    Raises:
        TypeError: ``source`` is neither a str nor callable, or ``key_id`` is not a str.
        ValueError: ``source`` holds no private key that can sign: RSA, EC or Ed25519.
    """

    def __init__(self, source: SecretSource, key_id: str | None = None) -> None:
        if key_id is not None and not isinstance(key_id, str):
            msg = f"private_key_id must be a str (got {type(key_id).__name__})"
            raise TypeError(msg)
        self._source = Secret(source, "private_key", lines=True)
        self._key_id = key_id
        if isinstance(source, str):
            _import_key(SecretText(source))

    def sign(self, client_id: str, audience: str) -> SecretText:
        """An assertion for one request: its ``jti`` is fresh, and it expires after 60 s.

        Args:
            client_id: Who signs (``iss`` and ``sub``).
            audience: Who is to accept it (``aud``).

        Raises:
            AuthError: The callable returned no private key that can sign.
        """
        from authlib.oauth2.rfc7523 import private_key_jwt_sign  # pyright: ignore[reportUnknownVariableType]

        try:
            key, algorithm, key_id = _import_key(self._source.reveal())
        except ValueError as error:
            fault = str(error)
        else:
            header = {"kid": self._key_id or key_id} if self._key_id or key_id else {}
            return SecretText(
                private_key_jwt_sign(
                    key, client_id, audience, alg=algorithm, header=header, expires_in=_LIFETIME
                )
            )
        msg = f"what the callable given as private_key returned is no use: {fault}"
        raise AuthError(msg)


def _import_key(text: SecretText) -> tuple[Any, str, str | None]:
    """The key, its algorithm, and its ``kid`` where it has one.

    Raises:
        ValueError: It cannot sign. The message quotes nothing of it.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from joserfc.errors import JoseError

    try:
        key = _from_jwk(text) if text.lstrip().startswith("{") else _from_pem(text)
        kind: str = getattr(key, "curve_name", key.key_type)
        if key.is_private and kind in _ALGORITHMS:
            return key, key.alg or _ALGORITHMS[kind], key.kid
    except (JoseError, UnsupportedAlgorithm, ValueError, TypeError, LookupError, RecursionError):
        pass  # what they say may quote the key
    msg = "private_key must be a private RSA, EC or Ed25519 key, in unencrypted PEM or as a JWK"
    raise ValueError(msg)


def _from_jwk(text: SecretText) -> Any:
    from joserfc.jwk import import_key

    return import_key(json.loads(text))


def _from_pem(text: SecretText) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from joserfc.jwk import ECKey, OKPKey, RSAKey

    match load_pem_private_key(text.encode(), None):
        case rsa.RSAPrivateKey():
            return RSAKey.import_key(text)
        case ec.EllipticCurvePrivateKey():
            return ECKey.import_key(text)
        case ed25519.Ed25519PrivateKey():
            return OKPKey.import_key(text)
        case _:
            raise ValueError
