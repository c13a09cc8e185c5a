"""OAuth2: the scheme that users construct."""

from __future__ import annotations

import copy
import functools
import time
from typing import TYPE_CHECKING, Any, Self

from cruds_core import AuthABC, Secret, arguments
from cruds_core.secret import SecretDict, SecretText, fault_of, hidden, plain
from cruds_core.url import without_query

from .authorization import Authorization, AuthorizationRequest
from .client_authentication import ClientAuthentication
from .discovery import discover
from .encryption import Keys
from .endpoint import Endpoint
from .exceptions import OAuthAccessTokenError, OAuthAuthorizationError, OAuthRevocationError
from .grants import Grants
from .parameters import Parameters, read_details, read_scope
from .revocation import revoke
from .server import LONGEST, check_issuer, check_url, transport
from .sign_ins import SignIns, check_redirect_uri
from .stored_token import StoredToken
from .stores import TokenStore
from .token_source import TokenSource

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

    import urllib3
    from urllib3 import BaseHTTPResponse

    from cruds_core import Request, SecretSource

    from .client_authentication import Method
    from .tokens import Token

_BYTES_OF_STATE = 16  # RFC 6749, section 10.10: guessing must succeed with at most 2^-128
_LONGEST_STATE = 1 << 20  # bytes: far more than any server takes in a URL

_LEASE = 30.0  # seconds that the lease of a renewal is longer than what the token endpoint may take


class OAuth2(AuthABC):
    """OAuth 2.0 (RFC 6749): a token that is obtained, renewed and sent as ``Authorization: Bearer``.

    What it is given decides on the grant:

    * nothing more: **client credentials** (section 4.4), the program acts for itself;
    * ``username`` and ``password``: **password** (section 4.3). RFC 9700, section 2.4, says that it "MUST NOT
      be used": the program sees the user's password, and the user cannot limit what it does with it. It is
      here for servers that offer nothing else;
    * ``authorization_url`` and ``redirect_uri``: **authorization code** (section 4.1), always with PKCE
      (RFC 7636, S256). A user signs in, in a browser, and the object has tokens for this user alone. Until
      then it has none, and it never falls back to another grant.

    An instance may be shared by many Clients and threads: they have one token. It is renewed before it
    expires, by one thread, while the others go on with the one that lives; where none lives they wait for
    the one. If that fails while a token lives, the token is used, and nobody tries again for 10 s at least. A
    401 renews the token once. Tokens are sealed in memory.

    Args:
        url: The token endpoint: https, or http on this machine.
        client_id: The client identifier.
        client_secret: The client secret, or a callable that returns it, asked at each token request. None
            or empty for a public client, or one with a ``private_key``.
        scope: What to ask for: names separated by spaces, or a list of them; None or empty for what the
            server gives by itself.
        authorization_details: The same in detail (RFC 9396): a list of objects, or JSON.
        username: The user of the password grant.
        password: The user's password, or a callable that returns it.
        encryption_key: The key that seals what leaves the process (see `authorization_request`): a key of
            ``cryptography.fernet.Fernet.generate_key()`` as a str, or any other text, which is stretched by
            scrypt; or a callable that returns one. In a list the first one seals, and all of them open.
        authorization_url: The authorization endpoint.
        redirect_uri: Where the authorization server sends the browser back to.
        state_length: Random bytes in ``state``, at least 16.
        token_endpoint_auth_method: How the client proves itself: ``client_secret_basic``,
            ``client_secret_post``, ``private_key_jwt`` or ``none``. Chosen by what is given unless named.
        form_encode_basic: Whether client_secret_basic form-encodes id and secret, as RFC 6749,
            section 2.3.1, asks. False for servers that do not decode them.
        private_key: The private key of private_key_jwt (RFC 7523): RSA, EC or Ed25519, in PEM or as a JWK; or
            a callable that returns it.
        private_key_id: The ``kid`` by which the server knows the key.
        assertion_audience: The ``aud`` of what the key signs; the issuer if it is known, else ``url``.
        token_params: Further parameters for each token request, such as ``audience`` or ``resource``; a list
            repeats its name.
        authorization_params: Further parameters for each authorization request.
        issuer: The authorization server's identifier. The answer to a sign-in must not name another one
            (RFC 9207).
        requires_issuer: Whether the answer must name it: the server's
            ``authorization_response_iss_parameter_supported``.
        revocation_url: The revocation endpoint (RFC 7009), for `revoke`.
        leeway: Seconds before its end at which a token is renewed, at most a tenth of its lifetime.
        timeout: Seconds to wait for the authorization server to connect, and for each piece of its answer. A
            request takes twice as long at most, however slowly the answer drips.
        verify_ssl: Whether its certificate is checked, or the path of the CAs, as a Client takes it.
        manager: A urllib3 PoolManager or ProxyManager of your own to reach it.
        store: Where the token lives that several processes share, sealed under ``encryption_key``; in the
            memory of this process unless given.
        user: Whose token is in the store, where it is not the client's own or that of ``username``: a name of
            yours for the user who signs in.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument has a value that cannot work, or does not go with the others.
    """

    def __init__(
        self,
        url: str,
        client_id: str,
        client_secret: SecretSource | None,
        scope: str | Iterable[str] | None,
        authorization_details: str | Sequence[Mapping[str, Any]] | Mapping[str, Any] | None = None,
        username: str | None = None,
        password: SecretSource | None = None,
        encryption_key: SecretSource | Sequence[SecretSource] | None = None,
        authorization_url: str | None = None,
        redirect_uri: str | None = None,
        state_length: int = 32,
        *,
        token_endpoint_auth_method: Method | None = None,
        form_encode_basic: bool = True,
        private_key: SecretSource | None = None,
        private_key_id: str | None = None,
        assertion_audience: str | None = None,
        token_params: Mapping[str, str | Sequence[str]] | None = None,
        authorization_params: Mapping[str, str | Sequence[str]] | None = None,
        issuer: str | None = None,
        requires_issuer: bool = False,
        revocation_url: str | None = None,
        leeway: float = 30.0,
        timeout: float = 10.0,
        verify_ssl: bool | str | os.PathLike[str] = True,
        manager: urllib3.PoolManager | None = None,
        store: TokenStore | None = None,
        user: str | None = None,
    ) -> None:
        client_secret, password, private_key = hidden(client_secret), hidden(password), hidden(private_key)
        encryption_key, token_params = hidden(encryption_key), hidden(token_params)
        authorization_params = hidden(authorization_params)
        self._url = check_url("url", url)
        self._client_id = client_id
        self._scope = read_scope(scope)
        details = read_details(authorization_details)
        issuer = None if issuer is None else check_issuer(issuer)
        requires_issuer = arguments.flag("requires_issuer", requires_issuer)
        self._transport = transport(timeout=timeout, verify_ssl=verify_ssl, manager=manager)
        authentication = ClientAuthentication(
            client_id,
            client_secret,
            private_key,
            token_endpoint_auth_method,
            key_id=private_key_id,
            audience=assertion_audience,
            server=issuer or self._url,
            form_encode=arguments.flag("form_encode_basic", form_encode_basic),
        )
        params = Parameters("token_params", token_params, secret=True)
        self._grants = Grants(
            Endpoint(self._url, authentication, self._transport, OAuthAccessTokenError),
            scope=self._scope,
            authorization_details=details,
            user=_user(username, password),
            params=params,
            leeway=arguments.seconds("leeway", leeway, zero=True),
        )
        further = Parameters("authorization_params", authorization_params)
        state_bytes = arguments.whole(
            "state_length", state_length, least=_BYTES_OF_STATE, most=_LONGEST_STATE
        )
        endpoint = None if authorization_url is None else check_url("authorization_url", authorization_url)
        if requires_issuer and issuer is None:
            msg = "requires_issuer needs the issuer that is to be named"
            raise ValueError(msg)
        self._signs_in = endpoint is not None or redirect_uri is not None
        if self._signs_in and username is not None:
            other = "redirect_uri" if authorization_url is None else "authorization_url"
            msg = f"username and {other} are for different grants: a user signs in one way"
            raise ValueError(msg)
        if (
            authentication.is_public
            and token_endpoint_auth_method is None
            and not self._signs_in
            and username is None
        ):
            msg = (
                "client_secret or private_key is missing: the client credentials grant needs one (RFC 6749, "
                'section 4.4); if something else proves the client, say token_endpoint_auth_method="none"'
            )
            raise ValueError(msg)
        self._keys = None if encryption_key is None else Keys(encryption_key, f"{client_id} at {self.url}")
        self._redirect_uri = None if redirect_uri is None else check_redirect_uri(redirect_uri)
        self._sign_ins = None
        if endpoint is not None and self._redirect_uri is not None:
            authorization = Authorization(
                endpoint,
                client_id=client_id,
                redirect_uri=self._redirect_uri,
                scope=self._scope,
                authorization_details=details,
                params=further,
                state_length=state_bytes,
            )
            self._sign_ins = SignIns(
                authorization,
                self._grants,
                self._keys,
                client=(self.url, client_id),
                issuer=issuer,
                requires_issuer=requires_issuer,
            )
        self._revocation = (
            None
            if revocation_url is None
            else Endpoint(
                check_url("revocation_url", revocation_url),
                authentication,
                self._transport,
                OAuthRevocationError,
            )
        )
        self._store = _check_store(store, self._keys)
        #: What tells its token from others of the store, but for the user. A set of scopes has another order
        #: in each process.
        self._identity: list[Any] = [issuer or self._url, client_id, sorted((self._scope or "").split())]
        self._identity += [details, self._signs_in, params["resource"], params["audience"], username]
        self._lease = LONGEST * arguments.seconds("timeout", timeout, zero=False) + _LEASE
        self._tokens = self._source(user)

    @classmethod
    def from_issuer(
        cls,
        issuer: str,
        client_id: str,
        client_secret: SecretSource | None = None,
        scope: str | Iterable[str] | None = None,
        *,
        timeout: float = 10.0,
        verify_ssl: bool | str | os.PathLike[str] = True,
        manager: urllib3.PoolManager | None = None,
        **options: Any,
    ) -> Self:
        """Ask an issuer for its endpoints (RFC 8414, or OpenID Connect Discovery), and use them.

        Args:
            issuer: The issuer identifier, exactly as the server writes it: an https URL.
            client_id: As for the class, like all that follow.
            client_secret: The client secret.
            scope: What to ask for.
            timeout: Seconds to wait for the server.
            verify_ssl: How its certificate is checked.
            manager: A manager of your own.
            **options: Other arguments of the class; they go before what the server says.

        Raises:
            OAuthDiscoveryError: The issuer publishes no metadata, or that of another.
            TypeError: As for the class, like the next.
            ValueError: An argument has a value that cannot work.
        """
        client_secret, options = hidden(client_secret), SecretDict(options)
        reach: dict[str, Any] = {"timeout": timeout, "verify_ssl": verify_ssl, "manager": manager}
        found = transport(timeout=timeout, verify_ssl=verify_ssl, manager=manager)
        metadata = discover(issuer, found)
        if found.pool.is_own:
            found.pool.close()
        methods: Any = metadata.get("token_endpoint_auth_methods_supported")
        listed = isinstance(methods, list) and "client_secret_basic" not in methods
        if client_secret and listed and "client_secret_post" in methods:
            options.setdefault("token_endpoint_auth_method", "client_secret_post")
        if options.get("redirect_uri") is not None:
            options.setdefault("authorization_url", metadata.get("authorization_endpoint"))
        options.setdefault("revocation_url", metadata.get("revocation_endpoint"))
        if metadata.get("authorization_response_iss_parameter_supported") is True:
            options.setdefault("requires_issuer", True)
        url = metadata["token_endpoint"]
        return cls(url, client_id, client_secret, scope, issuer=issuer, **reach, **options)

    @property
    def url(self) -> str:
        """The token endpoint."""
        return self._url

    @property
    def client_id(self) -> str:
        """The client identifier."""
        return self._client_id

    @property
    def scope(self) -> str | None:
        """What is asked for; `token` says what was granted."""
        return self._scope

    def authenticate(self, request: Request) -> None:
        """Send ``Authorization: Bearer`` with the `access_token` (RFC 6750, section 2.1).

        Args:
            request: The request, to be changed.

        Raises:
            OAuthAccessTokenError: There is none to be had.
        """
        request.headers["Authorization"] = f"{self.token_type} {self.access_token()}"

    def handle_challenge(self, request: Request, response: BaseHTTPResponse) -> bool:
        """Whether there is another token than the one that a 401 has refused.

        Raises:
            OAuthAccessTokenError: There should be one, and it could not be had.
        """
        failed = SecretText(request.headers.get("Authorization", "").removeprefix(f"{self.token_type} "))
        held = self._tokens.token
        if held is not None and held.access_token != failed:  # another thread has renewed it
            return True
        return self._tokens.can_renew and self.renew(failed) != failed

    def access_token(self) -> str:
        """The access token: the one that is held if it is valid, else a new one.

        Raises:
            OAuthAccessTokenError: The authorization server gave none, or nobody has signed in.
        """
        return self._tokens.current().access_token

    def renew(self, failed: str) -> str:
        """The access token in place of one that was refused.

        Raises:
            TypeError: ``failed`` is no str.
            OAuthAccessTokenError: There is none to be had.
        """
        if not isinstance(failed, str):
            msg = f"failed must be a str (got {type(failed).__name__})"
            raise TypeError(msg)
        failed = SecretText(failed)
        held = self._tokens.token
        if held is None or held.access_token != failed:
            return self.access_token()
        return self._tokens.renewed(held).access_token

    def is_valid(self) -> bool:
        """Whether an access token is held that has not expired."""
        token = self._tokens.token
        return token is not None and token.is_valid(time.time())

    @property
    def token(self) -> Token | None:
        """The access token that is held, with its scope, expiry and type; None while none is."""
        return self._tokens.token

    def clear(self) -> None:
        """Forget the tokens, and sign-ins that are under way. The server is not told: see `revoke`.

        Raises:
            OAuthStoreError: They may be in the ``store`` still, and so come back.
        """
        if self._sign_ins is not None:
            self._sign_ins.forget()
        self._tokens.give_up()

    def revoke(self) -> None:
        """Tell the authorization server that the tokens are not needed any more, and forget them (RFC 7009).

        Raises:
            OAuthRevocationError: The server did not do it; the tokens are still here. Or ``revocation_url``
                is not known.
            OAuthStoreError: The ``store`` cannot be read, and nothing was done; or the tokens were revoked,
                but may be in it still, and are here.
        """
        if self._revocation is None:
            msg = "revocation_url is not known: give it, or make the object with from_issuer()"
            raise OAuthRevocationError(msg)
        self._tokens.give_up(functools.partial(revoke, self._revocation))

    def get_authorization_url(
        self, additional_params: Mapping[str, str | Sequence[str]] | None = None
    ) -> str:
        """Where the user's browser goes to sign in. Its ``state`` is remembered here, for 10 minutes.

        Args:
            additional_params: Further parameters for this request, such as ``prompt`` or ``login_hint``; a
                ``scope`` goes in place of the object's.

        Raises:
            OAuthAuthorizationError: ``authorization_url`` or ``redirect_uri`` is not configured (a
                RuntimeError).
            ValueError: A parameter is one that we set.
        """
        additional_params = hidden(additional_params)
        return self._signing_in().begin(additional_params)

    def parse_authorization_response(self, redirect_url: str) -> tuple[str, str]:
        """What came back with the browser: the code and the state, once the issuer is checked (RFC 9207).

        Args:
            redirect_url: The URL that the browser was sent to, whole.

        Returns:
            The authorization code and the state, for `exchange_code_for_token`.

        Raises:
            OAuthAuthorizationError: The sign-in was refused, the URL lacks something, or it comes from
                another issuer (a RuntimeError).
        """
        redirect_url = hidden(redirect_url)
        return self._signing_in().answer(redirect_url)

    def exchange_code_for_token(self, authorization_code: str, state: str) -> str:
        """Exchange a code for tokens, which this object has from now on (RFC 6749, section 4.1.3).

        Args:
            authorization_code: The code that came back.
            state: The state that came back. It works once.

        Returns:
            The access token.

        Raises:
            OAuthStateError: No sign-in of this state is pending here (a RuntimeError).
            OAuthAuthorizationError: The code cannot be one, or the object is not made for sign-ins.
            OAuthAccessTokenError: The authorization server refused the code, or gave no answer.
        """
        authorization_code, state = hidden(authorization_code), hidden(state)
        token = self._signing_in().exchange(authorization_code, state)
        self._tokens.put(token)
        return token.access_token

    def authorization_request(
        self, additional_params: Mapping[str, str | Sequence[str]] | None = None
    ) -> AuthorizationRequest:
        """A sign-in for one of many users: where the browser goes, and what its session keeps meanwhile.

        What it keeps is sealed under ``encryption_key``, so any process with that key can go on with it, by
        `sign_in`. Nothing is remembered here.

        Args:
            additional_params: Further parameters for this request, such as ``prompt`` or ``login_hint``; a
                ``scope`` goes in place of the object's.

        Raises:
            OAuthAuthorizationError: ``authorization_url``, ``redirect_uri`` or ``encryption_key`` is not
                configured (a RuntimeError).
            ValueError: A parameter is one that we set.
        """
        additional_params = hidden(additional_params)
        return self._signing_in().request(additional_params)

    def sign_in(self, request: str, redirect_url: str, user: str | None = None) -> Self:
        """Complete a sign-in, and return a new object for the user who signed in.

        Args:
            request: The ``sealed`` of the `authorization_request`, from this browser's session. Take it out
                of there: it works once on one object, for 10 minutes.
            redirect_url: The URL that the browser was sent to, whole.
            user: A name of yours for the user, where there is a ``store``: `for_user` finds the token by it.

        Raises:
            OAuthStateError: The two do not belong together, or the request is none of ours, used or too old
                (a RuntimeError).
            OAuthAuthorizationError: As for `parse_authorization_response`.
            OAuthAccessTokenError: As for `exchange_code_for_token`.
            ValueError: As for `for_user`; or there is a ``store``, and ``user`` is missing.
        """
        request, redirect_url = hidden(request), hidden(redirect_url)
        sign_ins = self._signing_in()
        signed_in = self._for(user)  # what is wrong with the user is said before the code is spent
        token = sign_ins.complete(request, redirect_url)
        signed_in._tokens.put(token)
        return signed_in

    def for_user(self, user: str) -> Self:
        """An object for a user who has signed in, in this process or another: its token is in the store.

        Args:
            user: The name that was given to `sign_in`.

        Raises:
            TypeError: ``user`` is not a str.
            ValueError: It is empty, or the object has no ``store``.
        """
        return self._for(user)

    def _for(self, user: str | None) -> Self:
        if self._store is not None and user is None:
            msg = "user is missing: it names whose token the store keeps"
            raise ValueError(msg)
        other = copy.copy(self)
        other._sign_ins = None if self._sign_ins is None else self._sign_ins.apart()
        other._tokens = self._source(user)
        return other

    def close(self) -> None:
        """Close the connections to the authorization server. The object can be used again."""
        if self._transport.pool.is_own:
            self._transport.pool.close()

    def _source(self, user: str | None) -> TokenSource:
        if user is not None and (not isinstance(user, str) or not user):
            msg = f"user must be a str that is not empty (got {type(user).__name__})"
            raise (ValueError if isinstance(user, str) else TypeError)(msg)
        if user is not None and self._store is None:
            msg = "user names whose token a store keeps; give a store, too"
            raise ValueError(msg)
        if user is not None and not self._signs_in:
            msg = "user names who signs in; without authorization_url and redirect_uri nobody does"
            raise ValueError(msg)
        place = None
        if self._store is not None:
            place = StoredToken(self._store, self._keys, [*self._identity, user], self._lease)
        return TokenSource(
            type(self).__name__,
            None if self._signs_in else self._grants.first,
            self._grants.refresh if self._signs_in or self._grants.user is not None else None,
            place,
        )

    def _signing_in(self) -> SignIns:
        if self._sign_ins is None:
            missing = "authorization_url" if self._redirect_uri is not None else "redirect_uri"
            missing = missing if self._signs_in else "authorization_url and redirect_uri"
            msg = f"a sign-in needs {missing}, which the object was made without"
            raise OAuthAuthorizationError(msg)
        return self._sign_ins

    def __repr__(self) -> str:
        url, *others = (getattr(self, name, "?") for name in ("_url", "_client_id", "_scope"))
        return "{}(url={!r}, client_id={!r}, scope={!r})".format(
            type(self).__name__, without_query(url), *others
        )


def _check_store(store: object, keys: Keys | None) -> TokenStore | None:
    if store is not None and not isinstance(store, TokenStore):
        msg = f"store must be a TokenStore, such as FileStore(path) (got {type(store).__name__})"
        raise TypeError(msg)
    if store is not None and keys is None and not store.protects:
        msg = (
            "store needs encryption_key, which seals what leaves this process; make one with "
            "cryptography.fernet.Fernet.generate_key()"
        )
        raise ValueError(msg)
    return store


def _user(username: str | None, password: SecretSource | None) -> tuple[str, Secret] | None:
    if (username is None) is not (password is None):
        msg = "username and password need each other"
        raise ValueError(msg)
    if username is None or password is None:
        return None
    if not isinstance(username, str):
        msg = f"username must be a str (got {type(username).__name__})"
        raise TypeError(msg)
    if not username:  # RFC 6749, section 3.2: a parameter without a value is as good as omitted
        msg = "username is empty, which the server takes as if it were left out"
        raise ValueError(msg)
    if fault := fault_of(username):
        msg = f"username {fault}"
        raise ValueError(msg)
    return plain(username), Secret(password, "password")
