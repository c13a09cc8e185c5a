"""Assertions that prove a client by its private key (RFC 7523): the method private_key_jwt."""

from __future__ import annotations

import base64
import json
import secrets
import time
from typing import TYPE_CHECKING, Any, cast

from cruds_core import AuthError, Secret
from cruds_core.secret import SecretText, hidden

if TYPE_CHECKING:
    from cruds_core import SecretSource

#: RFC 7523, section 2.2
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

_LIFETIME = 60  # seconds
_JTI = 16  # random bytes
_RSA = 2048  # bits; RFC 7518, section 3.3: "A key of size 2048 bits or larger MUST be used"

# RFC 7518, section 3.1, RFC 8037, section 3.1, and RFC 9864; the first is taken unless a JWK names another.
_ALGORITHMS = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "Ed25519": ("EdDSA", "Ed25519"),
}


class PrivateKey:
    """A private key that signs assertions.

    Args:
        source: The key in PEM (PKCS #8, unencrypted) or as a JWK (RFC 7517), or a callable that returns it.
        key_id: The ``kid`` by which the authorization server knows the key; that of the JWK unless given.

    Raises:
        TypeError: ``source`` is neither a str nor callable, or ``key_id`` is not a str.
        ValueError: ``source`` holds no private key that can sign.
    """

    def __init__(self, source: SecretSource, key_id: str | None = None) -> None:
        source = hidden(source)
        if key_id is not None and not isinstance(key_id, str):
            msg = f"private_key_id must be a str (got {type(key_id).__name__})"
            raise TypeError(msg)
        self._source = Secret(source, "private_key", lines=True)
        self._key_id = key_id
        if isinstance(source, str):
            _sign(SecretText(source), key_id, {})

    def sign(self, client_id: str, audience: str) -> SecretText:
        """An assertion for one request: its ``jti`` is fresh, and it expires after 60 s.

        Args:
            client_id: Who signs (``iss`` and ``sub``).
            audience: Who is to accept it (``aud``).

        Raises:
            AuthError: The callable returned no private key that can sign.
        """
        now = int(time.time())
        claims: dict[str, str | int] = {  # RFC 7523, section 3
            **{"iss": client_id, "sub": client_id, "aud": audience},
            **{"iat": now, "exp": now + _LIFETIME, "jti": secrets.token_urlsafe(_JTI)},
        }
        try:
            return _sign(self._source.reveal(), self._key_id, claims)
        except ValueError as error:
            fault = str(error)
        msg = f"what the callable given as private_key returned is none: {fault}"
        raise AuthError(msg)


def _sign(text: SecretText, key_id: str | None, claims: dict[str, str | int]) -> SecretText:
    """Sign claims (RFC 7519).

    Raises:
        ValueError: The key cannot sign. The message quotes nothing of it.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from joserfc import jwt
    from joserfc.errors import JoseError
    from joserfc.jws import JWSRegistry

    class Registry(JWSRegistry):
        """Warns of no algorithm: those that would deserve it are not in ours."""

        def get_alg(self, name: str) -> Any:
            return self.algorithms[name]

    try:
        key = _from_jwk(text) if text.lstrip().startswith("{") else _from_pem(text)
        known = _ALGORITHMS[getattr(key, "curve_name", key.key_type)]
        algorithm = key.alg or known[0]
        if key.is_private and algorithm in known:
            key_id = key_id or key.kid
            header = {"alg": algorithm} | ({"kid": key_id} if key_id else {})
            return SecretText(jwt.encode(header, claims, key, registry=Registry()))
    except (JoseError, UnsupportedAlgorithm, ValueError, TypeError, LookupError, RecursionError):
        pass  # what they say may quote the key
    msg = (
        "private_key must be a private key that can sign, RSA of 2048 bits or more, EC or Ed25519, in "
        "unencrypted PEM or as a JWK"
    )
    raise ValueError(msg)


def _from_jwk(text: SecretText) -> Any:
    from joserfc.jwk import import_key

    members = cast("dict[str, Any]", json.loads(text))
    if members["kty"] == "RSA" and len(base64.urlsafe_b64decode(members["n"] + "==")) * 8 < _RSA:
        raise ValueError
    return import_key(members)


def _from_pem(text: SecretText) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from joserfc.jwk import ECKey, OKPKey, RSAKey

    match load_pem_private_key(text.encode(), None):
        case rsa.RSAPrivateKey(key_size=size) as key if size >= _RSA:
            return RSAKey(key, key)
        case ec.EllipticCurvePrivateKey() as key:
            return ECKey(key, key)
        case ed25519.Ed25519PrivateKey() as key:
            return OKPKey(key, key)
        case _:
            raise ValueError
