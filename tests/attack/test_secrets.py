"""Marked secrets through each scheme, verb and fault of the core and of Basic: nobody sees one anywhere."""

import faulthandler
import gc
import logging
import pickle
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType, TracebackType
from urllib.parse import quote

import pytest

from attack.server import ANSWERS, serve
from cruds_auth_basic import ApiKey, Basic, Digest
from cruds_auth_oauth2 import OAuth2
from cruds_core import AuthABC, BearerToken, Client, CrudsError
from cruds_core.testing.leaks import Leaks

SECRET = "CanaryBird+/=&%é"
PLAIN = "CanaryBird-0123456789"  # where a header takes no more

SCHEMES: dict[str, Callable[[str], AuthABC | str | tuple[str, str]]] = {
    "text": lambda _: PLAIN,
    "pair": lambda _: ("ada", SECRET),
    "bearer": lambda _: BearerToken(lambda: PLAIN),
    "basic": lambda _: Basic("ada", SECRET),
    "digest": lambda _: Digest("ada", SECRET),
    "apikey in a header": lambda _: ApiKey("X-Other", PLAIN),
    "apikey in a query": lambda _: ApiKey("other", SECRET, "query"),
    "apikey in a cookie": lambda _: ApiKey("other", PLAIN, "cookie"),
    "oauth2": lambda url: OAuth2(
        f"{url}/token", "app", SECRET, "read", username="ada", password=SECRET[::-1] + "CanaryBird"
    ),
}

VERBS: dict[str, Callable[[Client, str], object]] = {
    "create": lambda client, uri: client.create(uri, {"n": 1}),
    "read": lambda client, uri: client.read(uri),
    "update": lambda client, uri: client.update(uri, {"n": 1}, replace=True),
    "delete": lambda client, uri: client.delete(uri),
    "download": lambda client, uri: client.download(uri),
    "request": lambda client, uri: client.request("PATCH", uri, {"n": 1}),
}

# What belongs to the program, and not to the Client.
OPAQUE = (type, ModuleType, FunctionType, CodeType, FrameType, TracebackType, logging.Logger)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a server."""
    with serve() as url:
        yield url


def known() -> Leaks:
    """Returns what looks for the secrets."""
    leaks = Leaks()
    for secret in (SECRET, PLAIN, "CanaryBird", quote(SECRET), "t0ken-0123456789", "refresh-0123456789"):
        leaks.know(secret)
    return leaks


def reprs(root: object) -> Iterator[str]:
    """Yields how all that is reachable from an object shows itself, and its variables."""
    seen: set[int] = set()
    kept, waiting = list[object](), [root]
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, OPAQUE):
            continue
        seen.add(id(each))
        kept.append(each)  # so that no other gets its id
        yield repr(each)
        with suppress(TypeError):
            yield repr(vars(each))
        waiting += gc.get_referents(each)


def places(error: BaseException, leaks: Leaks) -> list[str]:
    """Returns where an error shows a secret."""
    found = list(leaks.in_error(error))
    texts = {"traceback": "".join(traceback.format_exception(error)), "variables": repr(vars(error))}
    with suppress(TypeError, AttributeError, pickle.PicklingError):
        texts["pickle"] = pickle.dumps(error).decode("latin-1")
    return found + [name for name, text in texts.items() if leaks.are_in(text)]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_secret_is_seen(
    scheme: str,
    server: str,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever is done, no log, warning, error, traceback, repr, pickle or dump shows a secret."""
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.DEBUG)
    leaks, told = known(), dict[str, list[str]]()
    with warnings.catch_warnings(record=True) as warned, tempfile.TemporaryFile() as dumped:
        warnings.simplefilter("always")
        client = Client(server, auth=SCHEMES[scheme](server), retries=0, max_response_size=1000)
        assert client.auth is not None
        for verb, send in VERBS.items():
            for name in ANSWERS:
                try:
                    send(client, name)
                except (CrudsError, OSError) as error:
                    told[f"{verb} {name}"] = places(error, leaks)
                else:
                    Path(name).unlink(missing_ok=True)
        assert {call: found for call, found in told.items() if found} == {}
        assert len(told) > 40
        faulthandler.dump_traceback(dumped, all_threads=True)
        dumped.seek(0)
        assert not leaks.are_in(dumped.read().decode())
        for one in (client, client.auth):
            try:
                pickled = pickle.dumps(one).decode("latin-1")
            except TypeError as error:
                pickled = str(error)
            assert not leaks.are_in(pickled)
        shown = [text for text in reprs(client) if leaks.are_in(text)]
        assert not shown, shown[0][:300]
        client.close()
    assert not leaks.are_in(caplog.text)
    assert not leaks.are_in("\n".join(f"{record.msg}{record.args}" for record in caplog.records))
    assert not leaks.are_in("\n".join(str(one.message) for one in warned))


def test_the_search_finds_what_is_there(server: str) -> None:
    """A scheme that holds a secret as it is, is found out."""
    auth = Basic("ada", SECRET)
    with Client(server, auth=auth) as client:
        assert not any(map(known().are_in, reprs(client)))
        vars(auth)["kept"] = [{"password": SECRET}]
        assert any(map(known().are_in, reprs(client)))
