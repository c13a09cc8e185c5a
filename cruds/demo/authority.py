"""Authlib's authorization server over the memory and the HTTP of the demo's."""

# Authlib's stubs leave types out, and take a property whose setter alone is sound for deprecated.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportDeprecated=false
# ruff: noqa: D102 - authlib says what the methods do that it calls
from __future__ import annotations

import logging
from base64 import b64decode
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from math import inf
from secrets import token_urlsafe
from time import monotonic
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote_plus, urlsplit

from authlib.common.urls import add_params_to_uri
from authlib.oauth2 import OAuth2Error, OAuth2Request, rfc6749, rfc7009, rfc7636
from authlib.oauth2.rfc6749 import grants, requests

from cruds_core.testing.server import Reply, encode

if TYPE_CHECKING:
    from cruds.demo.authorization import AuthorizationServer, Endpoints

AUTH_METHODS = ["client_secret_basic", "client_secret_post", "none"]
REPEATABLE = {"audience", "resource"}  # RFC 8693, section 2.1, and RFC 8707, section 2
CODE_LIFETIME = 60.0  # seconds; RFC 6749, section 4.1.2, allows 600

# At DEBUG authlib prints tokens, and a test that listens to the client's log hears this process.
logging.getLogger(grants.__name__).setLevel(logging.INFO)


@dataclass(eq=False)
class Credential(rfc6749.TokenMixin, rfc6749.AuthorizationCodeMixin):
    """A code or token, with the tokens that came of the same grant; spent is used up or revoked."""

    scope: str
    expires_at: float = inf
    redirect_uri: str = ""
    code_challenge: str = ""
    code_challenge_method: str = "S256"
    family: list[Credential] = field(default_factory=list["Credential"])
    is_spent: bool = False

    def is_active(self) -> bool:
        return not self.is_spent and monotonic() < self.expires_at

    def revoke_family(self) -> None:
        for credential in self.family:
            credential.is_spent = True

    def get_scope(self) -> str:
        return self.scope

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def check_client(self, client: object) -> bool:
        return True  # there is only one


class Request(OAuth2Request):
    """A request to an endpoint, with the parameters of its query or content."""

    def __init__(self, connection: Endpoints, values: dict[str, list[str]]) -> None:
        super().__init__(connection.command, connection.server.url + connection.path)
        self.authorization = connection.headers.get("Authorization", "")
        self.repeated = {name for name, texts in values.items() if len(texts) > 1}
        self.parameters = {name: texts[-1] for name, texts in values.items()}
        self.payload = requests.BasicOAuth2Payload(self.parameters)

    @property
    def form(self) -> dict[str, str]:
        return self.parameters


class _Grant(rfc6749.BaseGrant):
    TOKEN_ENDPOINT_AUTH_METHODS: Collection[str] = AUTH_METHODS
    server: Authority

    def redeem(self, kind: str, text: str) -> Credential:
        """Return what is good for one use; a second use revokes what came of the first.

        RFC 6749, section 4.1.2, has it so for codes, and RFC 9700, section 4.14.2, for refresh tokens.
        """
        credential = self.server.host.issued[kind].get(text)
        if credential and credential.is_spent:
            credential.revoke_family()
        if not credential or not credential.is_active():
            raise rfc6749.InvalidGrantError("it is unknown, expired, revoked or used already")
        return credential


class _ClientCredentials(grants.ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS[:2]  # RFC 6749, section 4.4: not for a public client


class _Password(grants.ResourceOwnerPasswordCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS
    server: Authority

    def authenticate_user(self, username: str, password: str) -> str:
        if (username, password) != (self.server.host.username, self.server.host.password):
            # RFC 6749, section 5.2, where authlib has "invalid_request".
            raise rfc6749.InvalidGrantError("the username or the password is wrong")
        return username


class _AuthorizationCode(_Grant, grants.AuthorizationCodeGrant):
    def save_authorization_code(self, code: str, request: OAuth2Request) -> None:
        redirect_uri, challenge = request.form.get("redirect_uri", ""), request.form["code_challenge"]
        credential = Credential(request.scope, monotonic() + CODE_LIFETIME, redirect_uri, challenge)
        self.server.host.issued["code"][code] = credential

    def query_authorization_code(self, code: str, client: object) -> Credential:
        return self.redeem("code", code)

    def authenticate_user(self, authorization_code: Credential) -> str:
        return self.server.host.username

    def delete_authorization_code(self, authorization_code: Credential) -> None:
        authorization_code.is_spent = True


class _Challenge(rfc7636.CodeChallenge):
    def validate_code_challenge(self, grant: _AuthorizationCode, redirect_uri: object) -> None:
        # RFC 9700, section 2.1.1, for every client, where authlib has it for public ones.
        if grant.request.form.get("code_challenge_method") != "S256":
            raise rfc6749.InvalidRequestError("a 'code_challenge' with the method 'S256' is required")
        super().validate_code_challenge(grant, redirect_uri)


class _Refresh(_Grant, grants.RefreshTokenGrant):
    def authenticate_refresh_token(self, refresh_token: str) -> Credential:
        return self.redeem("refresh_token", refresh_token)

    def authenticate_user(self, refresh_token: Credential) -> str:
        return self.server.host.username

    def revoke_old_credential(self, refresh_token: rfc6749.TokenMixin) -> None:
        cast("Credential", refresh_token).is_spent = self.server.host.rotates


class _Revocation(rfc7009.RevocationEndpoint):
    CLIENT_AUTH_METHODS = AUTH_METHODS
    server: Authority

    def check_params(self, request: OAuth2Request, client: object) -> None:
        if "token" not in request.form:  # a hint changes nothing (section 2.2.1), where authlib may refuse it
            raise rfc6749.InvalidRequestError("the token is missing")

    def query_token(self, token_string: str, token_type_hint: object) -> Credential | None:
        issued = self.server.host.issued
        return issued["access_token"].get(token_string) or issued["refresh_token"].get(token_string)

    def revoke_token(self, token: Credential, request: OAuth2Request) -> None:
        token.is_spent = True
        if request.form["token"] in self.server.host.issued["refresh_token"]:  # section 2.1
            token.revoke_family()


class Authority(rfc6749.AuthorizationServer, rfc6749.ClientMixin):
    """Authlib's authorization server over our memory and our HTTP, and its one client."""

    def __init__(self, host: AuthorizationServer) -> None:
        super().__init__()
        self.host = host
        for grant in (_ClientCredentials, _Password, _Refresh):
            self.register_grant(grant)
        self.register_grant(_AuthorizationCode, [_Challenge()])
        self.register_endpoint(_Revocation)
        self.register_client_auth_method("client_secret_basic", self.authenticate_basic)

    def answer(self, request: Request, respond: Callable[[Request], object]) -> Reply:
        """Return the reply to a request that keeps the rules of every endpoint, or an error response."""
        try:
            if not request.repeated <= REPEATABLE:  # RFC 6749, sections 3.1 and 3.2
                raise rfc6749.InvalidRequestError("a parameter is repeated")
            if request.authorization and "client_secret" in request.form:  # RFC 6749, section 2.3
                raise rfc6749.InvalidRequestError("the client authenticates in two ways")
            reply = respond(request)
        except OAuth2Error as error:
            error.state = request.form.get("state")
            reply = self.handle_error_response(request, error)
        except ValueError:  # authlib quotes the request in descriptions, which it then refuses
            reply = self.handle_error_response(request, rfc6749.InvalidRequestError("a parameter is wrong"))
        return cast("Reply", reply)

    def authorize(self, request: Request) -> object:
        user = None if self.host.denies else self.host.username
        return self.create_authorization_response(request, user, self.get_authorization_grant(request))

    def revoke(self, request: Request) -> object:
        return cast("Any", self).create_endpoint_response("revocation", request)

    def authenticate_basic(self, _: object, request: Request) -> Authority | None:
        # RFC 6749, section 2.3.1: form-encoded, then Basic.
        scheme, _, credentials = request.authorization.partition(" ")
        try:
            user, _, password = b64decode(credentials, validate=True).decode().partition(":")
        except ValueError:
            return None
        given = scheme.lower(), unquote_plus(user), unquote_plus(password)
        return self if given == ("basic", self.host.client_id, self.host.client_secret) else None

    def generate_token(self, grant_type: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        host, scope = self.host, self.get_allowed_scope(kwargs["scope"])
        token = {"access_token": token_urlsafe(), "token_type": "Bearer", "expires_in": host.lifetime}
        is_rotation = grant_type == "refresh_token" and host.rotates
        if is_rotation or grant_type in host.issues_refresh_tokens:
            token["refresh_token"] = token_urlsafe()
        return {**token, "scope": scope} if scope else token

    def save_token(self, token: dict[str, Any], request: OAuth2Request) -> None:
        known: Credential | None = request.refresh_token or request.authorization_code
        source = known or Credential(token.get("scope", ""))
        for kind, seconds in (("access_token", token["expires_in"]), ("refresh_token", inf)):
            if kind in token:
                credential = Credential(source.scope, monotonic() + seconds, family=source.family)
                source.family.append(credential)
                self.host.issued[kind][token[kind]] = credential

    def create_oauth2_request(self, request: Request) -> Request:
        return request

    def handle_response(self, status: int, body: object, headers: object) -> Reply:
        fields = dict(cast("list[tuple[str, str]]", headers))
        if "Location" in fields:  # RFC 9207, section 2: error responses, too
            fields["Location"] = add_params_to_uri(fields["Location"], [("iss", self.host.issuer)])
        return Reply(status, b"" if "Location" in fields else encode(body), fields)

    def send_signal(self, name: str, *args: object, **kwargs: object) -> None:
        pass

    def query_client(self, client_id: str) -> Authority:
        if client_id != self.host.client_id:
            raise rfc6749.InvalidClientError
        return self

    def get_default_redirect_uri(self) -> str:
        return self.host.redirect_uri or ""

    def get_allowed_scope(self, scope: Collection[str] | str | None) -> str:
        allowed = self.host.scope.split()
        wanted = rfc6749.scope_to_list(scope) if scope else allowed
        granted = [name for name in wanted if name in allowed]
        if wanted and not granted:
            raise rfc6749.InvalidScopeError
        return " ".join(granted)

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        if self.host.redirect_uri is not None:
            return redirect_uri == self.host.redirect_uri
        return bool(urlsplit(redirect_uri).scheme) and "#" not in redirect_uri  # RFC 6749, section 3.1.2

    def check_client_secret(self, client_secret: str) -> bool:
        return client_secret == self.host.client_secret

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method in self.host.auth_methods

    def check_response_type(self, response_type: str) -> bool:
        return True

    def check_grant_type(self, grant_type: str) -> bool:
        return True
