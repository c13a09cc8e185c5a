"""How each library reads JSON with a token, as its documentation says; runs where it is installed."""

import json
import os
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

Call = Callable[[], object]

TOKEN = "token-7f3a"
LATER = {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600, "expires_at": time.time() + 3600}
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


def urllib3(url: str, _token_url: str) -> Call:
    manager = import_module("urllib3").PoolManager(maxsize=32)
    return lambda: json.loads(manager.request("GET", url, headers=HEADERS).data)


def urllib3_default(url: str, _token_url: str) -> Call:
    manager = import_module("urllib3").PoolManager()
    return lambda: json.loads(manager.request("GET", url, headers=HEADERS).data)


def urllib3_timeout(url: str, _token_url: str) -> Call:
    manager = import_module("urllib3").PoolManager(maxsize=32, timeout=300)
    return lambda: json.loads(manager.request("GET", url, headers=HEADERS).data)


def urllib3_orjson(url: str, _token_url: str) -> Call:
    manager, loads = import_module("urllib3").PoolManager(maxsize=32), import_module("orjson").loads
    return lambda: loads(manager.request("GET", url, headers=HEADERS).data)


def cruds_core(url: str, _token_url: str) -> Call:
    parts = urlsplit(url)
    client = import_module("cruds_core").Client(f"{parts.scheme}://{parts.netloc}", TOKEN)
    return lambda: client.read(parts.path)


def cruds_core_observer(url: str, _token_url: str) -> Call:
    core: Any = import_module("cruds_core")

    class Observer:
        def cruds_request_finished(self, event: object) -> None:
            """Looks away."""

    core.hookimpl(Observer.cruds_request_finished)  # marks it
    import_module("cruds_core.plugins").default().register(Observer())
    return cruds_core(url, _token_url)


def cruds_basic(url: str, _token_url: str) -> Call:
    parts = urlsplit(url)
    client = import_module("cruds_core").Client(f"{parts.scheme}://{parts.netloc}", ("ada", "secret"))
    return lambda: client.read(parts.path)


def cruds_oauth2(url: str, token_url: str) -> Call:
    parts = urlsplit(url)
    auth = import_module("cruds_auth_oauth2").OAuth2(token_url, "bench", "secret", "read")
    client = import_module("cruds_core").Client(f"{parts.scheme}://{parts.netloc}", auth)
    return lambda: client.read(parts.path)


def cruds1(url: str, _token_url: str) -> Call:
    parts = urlsplit(url)
    client = import_module("cruds").Client(f"{parts.scheme}://{parts.netloc}", TOKEN)
    return lambda: client.read(parts.path.lstrip("/"))


def requests(url: str, _token_url: str) -> Call:
    session = import_module("requests").Session()
    session.headers.update(HEADERS)
    return lambda: session.get(url).json()


def niquests(url: str, _token_url: str) -> Call:
    session = import_module("niquests").Session()
    session.headers.update(HEADERS)
    return lambda: session.get(url).json()


def httpx(url: str, _token_url: str) -> Call:
    client = import_module("httpx").Client(headers=HEADERS)
    return lambda: client.get(url).json()


def httpx2(url: str, _token_url: str) -> Call:
    client = import_module("httpx2").Client(headers=HEADERS)
    return lambda: client.get(url).json()


def pycurl(url: str, _token_url: str) -> Call:
    curl, io = import_module("pycurl"), import_module("io")
    handle = curl.Curl()
    handle.setopt(curl.URL, url)
    handle.setopt(curl.HTTPHEADER, [f"{name}: {value}" for name, value in HEADERS.items()])

    def call() -> object:
        buffer = io.BytesIO()
        handle.setopt(curl.WRITEDATA, buffer)
        handle.perform()
        return json.loads(buffer.getvalue())

    return call


def authlib_requests(url: str, _token_url: str) -> Call:
    session: Any = import_module("authlib.integrations.requests_client").OAuth2Session("bench", token=LATER)
    return lambda: session.get(url).json()


def authlib_httpx(url: str, _token_url: str) -> Call:
    client: Any = import_module("authlib.integrations.httpx_client").OAuth2Client("bench", token=LATER)
    return lambda: client.get(url).json()


def requests_oauthlib(url: str, _token_url: str) -> Call:
    os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"  # it wants https on the loopback address, too
    session: Any = import_module("requests_oauthlib").OAuth2Session("bench", token=LATER)
    return lambda: session.get(url).json()


def requests_oauth2client(url: str, _token_url: str) -> Call:
    package = import_module("requests_oauth2client")
    session = import_module("requests").Session()
    session.auth = package.BearerToken(TOKEN, expires_in=3600)
    return lambda: session.get(url).json()


def httpx_auth(url: str, token_url: str) -> Call:
    auth = import_module("httpx_auth").OAuth2ClientCredentials(token_url, "bench", "secret", scope="read")
    client = import_module("httpx").Client(auth=auth)
    return lambda: client.get(url).json()


# A new TLS connection for each call. CA is the path of the only certificate that is trusted.

CLOSE = HEADERS | {"Connection": "close"}


def urllib3_new(url: str, _token_url: str) -> Call:
    manager = import_module("urllib3").PoolManager(ca_certs=os.environ["CA"])
    return lambda: json.loads(manager.request("GET", url, headers=CLOSE).data)


def urllib3_context_new(url: str, _token_url: str) -> Call:
    context = import_module("ssl").create_default_context(cafile=os.environ["CA"])
    manager = import_module("urllib3").PoolManager(ssl_context=context)
    return lambda: json.loads(manager.request("GET", url, headers=CLOSE).data)


def cruds_core_new(url: str, _token_url: str) -> Call:
    parts = urlsplit(url)
    host = f"{parts.scheme}://{parts.netloc}"
    client = import_module("cruds_core").Client(host, TOKEN, verify_ssl=os.environ["CA"])
    client.request_headers["Connection"] = "close"
    return lambda: client.read(parts.path)


def requests_new(url: str, _token_url: str) -> Call:
    session = import_module("requests").Session()
    session.headers.update(CLOSE)
    session.verify, session.trust_env = os.environ["CA"], False  # the environment would go before it
    return lambda: session.get(url).json()


def niquests_new(url: str, _token_url: str) -> Call:
    session = import_module("niquests").Session()
    session.headers.update(CLOSE)
    session.verify, session.trust_env = os.environ["CA"], False  # the environment would go before it
    return lambda: session.get(url).json()


def _httpx_new(package: Any, url: str) -> Call:
    context = import_module("ssl").create_default_context(cafile=os.environ["CA"])
    client = package.Client(headers=CLOSE, verify=context)
    return lambda: client.get(url).json()


def httpx_new(url: str, _token_url: str) -> Call:
    return _httpx_new(import_module("httpx"), url)


def httpx2_new(url: str, _token_url: str) -> Call:
    return _httpx_new(import_module("httpx2"), url)


# A token that has expired: client credentials give another.

PAST = {"access_token": "old", "token_type": "Bearer", "expires_in": 1, "expires_at": 1}


def authlib_requests_expired(url: str, token_url: str) -> Call:
    session: Any = import_module("authlib.integrations.requests_client").OAuth2Session(
        "bench", "secret", scope="read", token=PAST, token_endpoint=token_url, grant_type="client_credentials"
    )
    return lambda: session.get(url).json()


def authlib_httpx_expired(url: str, token_url: str) -> Call:
    client: Any = import_module("authlib.integrations.httpx_client").OAuth2Client(
        "bench", "secret", scope="read", token=PAST, token_endpoint=token_url, grant_type="client_credentials"
    )
    return lambda: client.get(url).json()


def requests_oauthlib_expired(url: str, token_url: str) -> Call:
    os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
    oauthlib = import_module("oauthlib.oauth2")
    package: Any = import_module("requests_oauthlib")
    session = package.OAuth2Session(client=oauthlib.BackendApplicationClient("bench"), token=PAST)

    def call() -> object:
        try:
            return session.get(url).json()
        except oauthlib.TokenExpiredError:
            session.fetch_token(token_url, client_id="bench", client_secret="secret")
            return session.get(url).json()

    return call


def requests_oauth2client_expired(url: str, token_url: str) -> Call:
    package: Any = import_module("requests_oauth2client")
    client = package.OAuth2Client(token_url, client_id="bench", client_secret="secret", testing=True)
    session = import_module("requests").Session()
    session.auth = package.OAuth2ClientCredentialsAuth(client, scope="read")
    return lambda: session.get(url).json()
