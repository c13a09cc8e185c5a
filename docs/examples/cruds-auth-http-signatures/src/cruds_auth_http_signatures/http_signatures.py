"""Requests that are signed with their content (RFC 9421, RFC 9530)."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, cast

from cruds_core import AuthABC, AuthError, Request
from http_message_signatures.exceptions import HTTPMessageSignaturesException
from http_message_signatures.resolvers import HTTPSignatureComponentResolver
from http_message_signatures.signatures import HTTPMessageSigner
from urllib3.util import parse_url

from .key import ALGORITHMS, Key

if TYPE_CHECKING:
    from cruds_core import SecretSource

_COMPONENTS = ("@method", "@authority", "@path", "@query", "content-digest", "content-type")
_DERIVED = sorted(HTTPSignatureComponentResolver.derived_component_resolvers.keys() - {"@status"})

_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")  # RFC 9421, section 2.1: in small letters
_STRING = re.compile(r"[\x20-\x7e]+")  # RFC 8941, section 3.3.3
_LABEL = re.compile(r"[a-z*][a-z0-9_.*-]*")  # RFC 8941, section 3.1.2

_CHUNK = 1 << 16  # bytes of content that are digested at a time
_YEAR = 365 * 24 * 3600  # seconds


class HttpSignatures(AuthABC):
    """HTTP Message Signatures (RFC 9421): every attempt is signed anew, with a nonce of its own.

    A request with content gets a Content-Digest (RFC 9530), so that the signature covers the content, too.

    Args:
        key: A private key in PEM, for ``hmac-sha256`` the shared secret in base64, or a callable that
            returns it, asked at each request.
        key_id: The name by which the server knows the key.
        algorithm: ``ed25519``, ``ecdsa-p256-sha256``, ``ecdsa-p384-sha384``, ``rsa-pss-sha512``,
            ``rsa-v1_5-sha256`` or ``hmac-sha256``.
        components: What is covered: derived components and fields, as section 2 of RFC 9421 names them. The
            fields of the content (``content-...``) are covered where the request has them; it is an error if
            it has not another. Fields that the connection adds, such as Host, cannot be covered.
        lifetime: Seconds after which the server is to refuse the signature; None for no ``expires``.
        tag: The application that the signature is for, where the server asks for one.
        label: The name of the signature in its headers.
        digest: The algorithm of the Content-Digest, ``sha-256`` or ``sha-512``.
        alg: Whether the algorithm is named in the signature, and not only known to the server by the key.
        nonce: Whether there is a nonce.

    Raises:
        TypeError: An option is of another type.
        ValueError: An option is unknown or cannot be sent, or ``key`` is no key for the algorithm.
    """

    def __init__(
        self,
        key: SecretSource,
        key_id: str,
        algorithm: str = "ed25519",
        *,
        components: Sequence[str] = _COMPONENTS,
        lifetime: float | None = 300,
        tag: str | None = None,
        label: str = "sig1",
        digest: Literal["sha-256", "sha-512"] = "sha-256",
        alg: bool = True,
        nonce: bool = True,
    ) -> None:
        self._key = Key(key, algorithm)
        self.key_id = _checked("key_id", key_id, _STRING)
        self.components = _components(components)
        if lifetime is not None and not isinstance(lifetime, (int, float)):
            msg = f"lifetime must be seconds, or None (got {type(lifetime).__name__})"
            raise TypeError(msg)
        if lifetime is not None and not 1 <= lifetime <= _YEAR:
            msg = f"lifetime must be from 1 to {_YEAR} seconds, or None (got {lifetime!r})"
            raise ValueError(msg)
        if digest not in ("sha-256", "sha-512"):
            msg = f'digest must be "sha-256" or "sha-512" (got {digest!r})'
            raise ValueError(msg)
        if not isinstance(alg, bool) or not isinstance(nonce, bool):
            msg = f"alg and nonce must be True or False (got {alg!r} and {nonce!r})"
            raise TypeError(msg)
        self.lifetime = lifetime
        self.tag = None if tag is None else _checked("tag", tag, _STRING)
        self.label = _checked("label", label, _LABEL)
        self.digest = digest
        self.alg = alg
        self.nonce = nonce

    def authenticate(self, request: Request) -> None:
        """Add Signature and Signature-Input, and Content-Digest where there is content.

        Raises:
            AuthError: The callable did not return a key, the request lacks a field that is to be covered, or
                its content is a stream, which can be read only once.
        """
        names = [_name(component) for component in self.components]
        if request.content is not None and "content-digest" in names:
            request.headers["Content-Digest"] = self._content_digest(request)
        if isinstance(request.content, bytes) and "content-length" in names:
            request.headers["Content-Length"] = str(len(request.content))
        created = datetime.fromtimestamp(int(time.time()), UTC)
        signer: Any = HTTPMessageSigner(signature_algorithm=ALGORITHMS[self._key.algorithm])
        try:
            prepared = signer.prepare(
                Request(request.method, _url_as_received(request), request.headers),
                key_id=self.key_id,
                created=created,
                expires=self.lifetime and created + timedelta(seconds=self.lifetime),
                nonce=secrets.token_urlsafe(16) if self.nonce else None,
                tag=self.tag,
                include_alg=self.alg,
                covered_component_ids=[
                    component
                    for component, name in zip(self.components, names, strict=True)
                    if not name.startswith("content-") or name in request.headers
                ],
                use_existing_digest="Content-Digest" in request.headers,
            )
        except HTTPMessageSignaturesException as error:
            msg = f"{request} cannot be signed: {error}"
            raise AuthError(msg) from error
        signature = base64.b64encode(self._key.sign(prepared.signature_base)).decode()
        request.headers["Signature-Input"] = f"{self.label}={prepared.signature_params}"
        request.headers["Signature"] = f"{self.label}=:{signature}:"

    def _content_digest(self, request: Request) -> str:
        digest = hashlib.new(self.digest.replace("-", ""))
        content = request.content
        if isinstance(content, bytes):
            digest.update(content)
        elif content is not None:
            if not content.seekable():
                msg = (
                    f"{request} cannot be signed: its content is a stream, which can be read only once; "
                    'give a file that can seek, or leave "content-digest" out of components'
                )
                raise AuthError(msg)
            content.seek(0)
            while chunk := content.read(_CHUNK):
                digest.update(chunk)
        return f"{self.digest}=:{base64.b64encode(digest.digest()).decode()}:"

    def __repr__(self) -> str:
        return f"HttpSignatures(key=***, key_id={getattr(self, 'key_id', '?')!r})"


def _url_as_received(request: Request) -> str:
    """The URL as the server puts it together from what it receives (RFC 9421, sections 2.2.2 and 2.2.3).

    The connection leaves the default port and a dot at the end of a name out of Host. A Host that the caller
    sets is the one that is sent.
    """
    origin = request.origin._replace(host=request.origin.host.removesuffix("."))
    scheme, _, authority = str(origin).partition("://")
    return f"{scheme}://{request.headers.get('Host', authority)}{parse_url(request.url).request_uri}"


def _name(component: str) -> str:
    """The name of a component, which is in quotes where it has parameters: ``"@query-param";name="id"``."""
    return component[1:].partition('"')[0] if component.startswith('"') else component


def _components(components: object) -> tuple[str, ...]:
    if isinstance(components, str) or not isinstance(components, Sequence):
        msg = f"components must be a sequence of names (got {type(components).__name__})"
        raise TypeError(msg)
    if not components:
        msg = "components is empty: such a signature would fit any request"
        raise ValueError(msg)
    names = tuple(cast("Any", components))
    for name in names:
        if not isinstance(name, str) or not (_name(name) in _DERIVED or _FIELD_NAME.fullmatch(_name(name))):
            known = ", ".join(_DERIVED)
            msg = f"components must be fields in small letters, or of {known} (got {name!r})"
            raise ValueError(msg)
        if names.count(name) > 1:  # RFC 9421, section 2: "Each component identifier MUST occur only once"
            msg = f"components has {name!r} twice"
            raise ValueError(msg)
    return names


def _checked(option: str, value: object, form: re.Pattern[str]) -> str:
    if not isinstance(value, str):
        msg = f"{option} must be a str (got {type(value).__name__})"
        raise TypeError(msg)
    if not form.fullmatch(value):
        msg = f"{option} is empty or has a character that it cannot have (got {value!r})"
        raise ValueError(msg)
    return value
