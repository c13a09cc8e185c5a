"""Requests signed with AWS Signature Version 4. The signer, and where credentials come from, is botocore."""

from __future__ import annotations

import functools
import hashlib
import os
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_to_bytes

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import BotoCoreError
from botocore.session import Session
from cruds_core import AuthABC, AuthError, Secret, SecretText
from urllib3.util import parse_url

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from cruds_core import Request, SecretSource

# Signed with a path that is encoded once, and with the hash of the content in a header of its own.
_S3 = ("s3", "s3-object-lambda", "s3-outposts")

_NAME = re.compile(r"[a-z0-9-]+")
# It stands in Credential=ID/date/region/service/aws4_request, before a comma.
_ACCESS_KEY_ID = re.compile(r"[!-+\-.0-~]+")

_HASH = "X-Amz-Content-SHA256"


class SigV4(AuthABC):
    """AWS Signature Version 4: method, host, path, query, headers and content, signed at every attempt.

    Args:
        region: The region of the service, for example ``"eu-west-1"``.
        service: The name that the service signs with, for example ``"s3"``, ``"sts"``, ``"execute-api"``.
        access_key_id: The ID of the access key. Without one the credentials are those that botocore finds
            (environment, profile, container, instance role), which it renews before they expire.
        secret_access_key: The key itself, or a callable that returns it, asked at each request.
        session_token: The token of temporary credentials, or a callable that returns it.
        profile: The profile in which botocore looks, in place of its default.
        sign_content: Whether the signature covers the content. Without it, content goes to S3 over https
            as it is, which spares reading it twice. Over http it is always covered.

    Raises:
        TypeError: An option is of the wrong type.
        ValueError: An option cannot be used, or does not go with another.
    """

    def __init__(
        self,
        region: str,
        service: str,
        access_key_id: str | None = None,
        secret_access_key: SecretSource | None = None,
        session_token: SecretSource | None = None,
        *,
        profile: str | None = None,
        sign_content: bool = True,
    ) -> None:
        self.region = _checked("region", region, _NAME)
        self.service = _checked("service", service, _NAME)
        self.access_key_id = access_key_id
        self._secret_access_key = _secret("secret_access_key", secret_access_key)
        self._session_token = _secret("session_token", session_token)
        self._profile = profile
        self._sign_content = sign_content
        if access_key_id is not None:
            _checked("access_key_id", access_key_id, _ACCESS_KEY_ID)
        if (access_key_id is None) != (secret_access_key is None):
            msg = "access_key_id and secret_access_key go together; leave out both to have botocore find them"
            raise ValueError(msg)
        if session_token is not None and access_key_id is None:
            msg = "session_token needs the access_key_id and secret_access_key that it was issued with"
            raise ValueError(msg)
        if profile is not None and access_key_id is not None:
            msg = "profile is where credentials are found; leave out it or access_key_id"
            raise ValueError(msg)
        if not sign_content and service not in _S3:
            msg = f'sign_content=False is for S3 alone (got service="{service}")'
            raise ValueError(msg)

    def authenticate(self, request: Request) -> None:
        """Sign the request, in place of what signed it before.

        Raises:
            AuthError: There are no credentials, or the content is a stream, which cannot be read twice.
        """
        credentials = self._credentials()
        request.url = _strict(request.url, path=self.service in _S3)
        request.headers.discard("Authorization")
        request.headers["X-Amz-Date"] = _now().strftime("%Y%m%dT%H%M%SZ")
        request.headers.discard("X-Amz-Security-Token")
        if credentials.token is not None:
            request.headers["X-Amz-Security-Token"] = credentials.token
        content_hash = self._hash(request)
        if self.service in _S3 or _HASH in request.headers:  # some other services want it, too
            request.headers[_HASH] = content_hash

        headers = request.headers.copy()
        headers["Host"] = request.host
        to_sign = AWSRequest(request.method, request.url, headers)
        to_sign.context.update(timestamp=request.headers["X-Amz-Date"], content_hash=content_hash)
        signer = (_S3Signer if self.service in _S3 else _Signer)(credentials, self.service, self.region)
        # The steps of botocore's add_auth(), which writes the session token into the log.
        canonical = signer.canonical_request(to_sign)
        signature = signer.signature(signer.string_to_sign(to_sign, canonical), to_sign)
        names = signer.signed_headers(signer.headers_to_sign(to_sign))
        request.headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={signer.scope(to_sign)}, "
            f"SignedHeaders={names}, Signature={signature}"
        )

    def _credentials(self) -> ReadOnlyCredentials:
        if self.access_key_id is None or self._secret_access_key is None:
            return _found(self._profile)
        token = None if self._session_token is None else self._session_token.reveal()
        return ReadOnlyCredentials(self.access_key_id, self._secret_access_key.reveal(), token)

    def _hash(self, request: Request) -> str:
        if not self._sign_content and request.url.startswith("https:"):
            return "UNSIGNED-PAYLOAD"
        digest = hashlib.sha256()
        for chunk in request.chunks():
            digest.update(chunk)
        return digest.hexdigest()

    def __repr__(self) -> str:
        names = ("region", "service", "access_key_id")
        return f"SigV4({', '.join(f'{name}={getattr(self, name, None)!r}' for name in names)})"


class _Signer(SigV4Auth):
    """Takes the hash of the content as given: botocore would read the content with a tell()."""

    def payload(self, request: AWSRequest) -> str:
        return str(request.context["content_hash"])


class _S3Signer(_Signer, S3SigV4Auth):
    """The same with the paths of S3."""


def _found(profile: str | None) -> ReadOnlyCredentials:
    try:
        found = credentials_of(profile, os.getpid()).get_frozen_credentials()
    except (BotoCoreError, RuntimeError) as error:  # the second for credentials that came expired
        msg = f"the credentials of AWS are not to be had: {error}"
        raise AuthError(msg) from error
    # As texts that no traceback shows.
    token = SecretText(found.token) if found.token else None
    return ReadOnlyCredentials(found.access_key, SecretText(found.secret_key), token)


@functools.cache  # for each process: a lock in them may be held while the process is forked
def credentials_of(profile: str | None, process: int) -> Credentials:
    """The credentials that botocore finds, one object for all schemes, which renews itself.

    Args:
        profile: The profile, or None for the default.
        process: The ID of this process.

    Raises:
        AuthError: There are none.
        BotoCoreError: They cannot be read.
    """
    found = Session(profile=profile).get_credentials()
    if found is None:
        msg = (
            "botocore finds no credentials of AWS in the environment, a profile or a role; "
            "give access_key_id and secret_access_key"
        )
        raise AuthError(msg)
    return found


def _now() -> datetime:
    return datetime.now(UTC)


def _strict(url: str, *, path: bool) -> str:
    """The URL with nothing but unreserved characters left unencoded in its query (RFC 3986, section 2.3).

    AWS signs it so, whatever it was sent as, and botocore signs what it is given. So it is for S3 with the
    path; that of other services is signed as it was sent, but encoded once more.
    """
    parts = parse_url(url)
    sent = parts.path or "/"
    strict = "/".join(map(_requoted, sent.split("/"))) if path else sent
    pairs = [pair.replace("+", "%20").split("=", 1) for pair in (parts.query or "").split("&") if pair]
    query = "&".join("=".join(map(_requoted, pair)) for pair in pairs)
    return parts._replace(path=strict, query=query or None).url


def _requoted(text: str) -> str:
    quoted = quote(unquote_to_bytes(text), safe="")
    return text if quoted in (".", "..") else quoted  # a dot segment when it is not encoded


def _checked(name: str, value: object, allowed: re.Pattern[str]) -> str:
    if not isinstance(value, str):
        msg = f"{name} must be a str (got {type(value).__name__})"
        raise TypeError(msg)
    if not allowed.fullmatch(value):
        msg = f"{name} is empty or holds a character that cannot be in it"
        raise ValueError(msg)
    return value


def _secret(name: str, source: SecretSource | None) -> Secret | None:
    if source == "":
        msg = f"{name} is empty"
        raise ValueError(msg)
    return None if source is None else Secret(source, name)
