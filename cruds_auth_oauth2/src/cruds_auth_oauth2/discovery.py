"""The metadata of an authorization server: RFC 8414, and OpenID Connect Discovery 1.0."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from authlib.oauth2.rfc8414 import get_well_known_url
from authlib.oidc.discovery import get_well_known_url as get_openid_url

from cruds_core import Headers, Request, RequestError
from cruds_core.decoding import load_json
from cruds_core.status import showable

from .exceptions import OAuthDiscoveryError
from .parameters import check_query
from .server import check_issuer, check_url

if TYPE_CHECKING:
    from cruds_core.transport import Transport


def discover(issuer: str, transport: Transport) -> dict[str, Any]:
    """The metadata that an issuer publishes.

    Args:
        issuer: The issuer identifier, exactly as the server writes it.
        transport: How to get there.

    Raises:
        TypeError: ``issuer`` is not a str.
        ValueError: ``issuer`` is neither https nor on this machine, or has a query or a fragment.
        OAuthDiscoveryError: There is none to be had, it is of another issuer, or it lacks a token endpoint.
    """
    check_issuer(issuer)
    faults: list[str] = []
    for url in _well_known(issuer):
        request = Request("GET", url, Headers.default(json=True))
        try:
            response = transport.send(request, deserialize=False, tolerates=lambda _: True)
        except RequestError as error:
            raise OAuthDiscoveryError(str(error)) from error
        if response.status != 200:
            faults.append(f"{url} answered {response.status}")
        elif fault := _fault(metadata := _read(response.content), issuer):
            faults.append(f"{url} {fault}")
        else:
            return metadata
    msg = f'the issuer "{issuer}" has no metadata that can be used: {"; ".join(faults)}'
    raise OAuthDiscoveryError(msg)


def _well_known(issuer: str) -> list[str]:
    """Where an issuer's metadata may be.

    The path of the issuer stands behind the well-known part (RFC 8414, section 3.1), or before it (OpenID
    Connect Discovery 1.0, section 4.1).
    """
    base = issuer.rstrip("/")
    inserted = get_well_known_url(base, external=True, suffix="openid-configuration")
    places = [get_well_known_url(base, external=True), get_openid_url(base, external=True), inserted]
    return list(dict.fromkeys(places))


def _read(content: bytes) -> dict[str, Any]:
    try:
        found: Any = load_json(content)
    except ValueError:
        found = {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _fault(metadata: dict[str, Any], issuer: str) -> str | None:
    """What keeps metadata from being used, worded to follow its URL; None if nothing does."""
    if not metadata:
        return "is no JSON object"
    # RFC 8414, section 3.3: "If these values are not identical, the data contained in the response MUST NOT
    # be used."
    if metadata.get("issuer") != issuer:
        told = metadata.get("issuer")
        # What nests deep is read, but Python cannot write it.
        named = showable("" if isinstance(told, (dict, list)) else str(told), ())
        return f'belongs to the issuer "{named}": that must be given to the letter, if it is the right one'
    for name in ("token_endpoint", "authorization_endpoint", "revocation_endpoint"):
        if name == "token_endpoint" or metadata.get(name) is not None:
            try:
                url = check_url(name, metadata.get(name))
                if name == "authorization_endpoint":
                    check_query(name, url)
            except (TypeError, ValueError) as error:
                return f"is no use: {error}"
    return None
