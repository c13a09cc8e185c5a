"""The tree of errors: as it is drawn, and as it travels."""

import copy
import pickle
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3
from servers.fault import End, Fault, reply

import cruds_core
from cruds_core import (
    Client,
    ConnectError,
    CrudsError,
    RequestError,
    RequestTimeoutError,
    StatusError,
    exceptions,
)

CLASSES = [getattr(exceptions, name) for name in exceptions.__all__]
STATUS_ERRORS = [cls for cls in CLASSES if issubclass(cls, StatusError)]
REQUEST_ERRORS = [cls for cls in CLASSES if issubclass(cls, RequestError)]
OTHERS = [cls for cls in CLASSES if not issubclass(cls, (StatusError, RequestError))]


def drawn() -> Iterator[tuple[str, str | None, set[str]]]:
    """Returns name, parent and further bases of each class in the tree of the docstring."""
    path: list[str] = []
    for line in (exceptions.__doc__ or "").splitlines():
        found = re.match(r"([│├└─ ]*)(\w+Error)\b(?: +(.*))?$", line)
        if not found or (not path and found[1]):
            continue
        if path and not found[1]:
            return
        depth = len(found[1]) // 4
        path[depth:] = [found[2]]
        also = re.search(r"\(also (\w+)\)", found[3] or "")
        yield found[2], path[depth - 1] if depth else None, {also[1]} if also else set()


def test_the_tree_is_drawn_as_it_is() -> None:
    """The docstring of the module draws every class, under its parent and with its further bases."""
    tree = {name: (parent, also) for name, parent, also in drawn()}
    assert set(tree) == set(exceptions.__all__)
    for cls in CLASSES:
        parent, also = tree[cls.__name__]
        bases = {base.__name__ for base in cls.__bases__} - {"HTTPError", "Exception"}
        assert bases == {*([parent] if parent else []), *also}


def test_all_classes_are_exported() -> None:
    """Each error class of the module is in its __all__, in order, and is a name of the package."""
    here = {
        name
        for name, value in vars(exceptions).items()
        if isinstance(value, type)
        and issubclass(value, BaseException)
        and value.__module__ == exceptions.__name__
    }
    assert here == set(exceptions.__all__)
    assert exceptions.__all__ == sorted(exceptions.__all__)
    for name in exceptions.__all__:
        assert getattr(cruds_core, name) is getattr(exceptions, name)
        assert name in cruds_core.__all__


@pytest.mark.parametrize("cls", CLASSES)
def test_every_class_is_ours_and_described(cls: type[Exception]) -> None:
    """Each class is a CrudsError and has a docstring of its own."""
    assert issubclass(cls, CrudsError)
    assert "__doc__" in vars(cls)
    assert (vars(cls)["__doc__"] or "").strip().endswith(".")


@pytest.mark.parametrize("cls", CLASSES)
def test_what_is_an_error_of_urllib3(cls: type[Exception]) -> None:
    """RequestError and StatusError, with all below, are urllib3's HTTPError, and the others are not."""
    assert issubclass(cls, urllib3.exceptions.HTTPError) is (cls in STATUS_ERRORS + REQUEST_ERRORS)


def test_only_a_timeout_is_a_timeout_error() -> None:
    """RequestTimeoutError alone is a TimeoutError: a refused connection is none."""
    assert [cls for cls in CLASSES if issubclass(cls, TimeoutError)] == [RequestTimeoutError]
    assert [cls for cls in CLASSES if issubclass(cls, OSError)] == [RequestTimeoutError]


def test_code_for_1x_catches_a_status() -> None:
    """Code that catches urllib3's HTTPError meets an error status."""
    with (
        Fault(reply(404)) as server,
        Client(server.url, retries=0) as client,
        pytest.raises(urllib3.exceptions.HTTPError, match="404"),
    ):
        client.read("x")


def test_code_for_1x_catches_a_failure() -> None:
    """Code that catches urllib3's HTTPError meets a connection that was refused."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with (
        Client(f"127.0.0.1:{port}", retries=0) as client,
        pytest.raises(urllib3.exceptions.HTTPError, match="no connection") as caught,
    ):
        client.read("x")
    assert type(caught.value) is ConnectError


def copies(error: Exception) -> list[Any]:
    """Returns the error as other processes and copies have it."""
    pickles = [pickle.dumps(error, protocol) for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)]
    return [*map(pickle.loads, pickles), copy.copy(error), copy.deepcopy(error)]


@pytest.mark.parametrize("cls", OTHERS)
def test_an_error_travels(cls: type[Exception]) -> None:
    """An error keeps its class, its message and its notes when it is pickled or copied."""
    error = cls("what happened")
    error.add_note("a note")
    for other in copies(error):
        assert type(other) is cls
        assert (str(other), other.args, other.__notes__) == ("what happened", ("what happened",), ["a note"])


@pytest.mark.parametrize("cls", REQUEST_ERRORS)
def test_a_request_error_travels(cls: type[RequestError]) -> None:
    """A RequestError keeps method, URL and attempts as well."""
    error = cls("what happened", method="GET", url="http://127.0.0.1/x", attempts=3)
    for other in copies(error):
        assert type(other) is cls
        assert str(other) == "what happened"
        assert (other.method, other.url, other.attempts) == ("GET", "http://127.0.0.1/x", 3)


@pytest.mark.parametrize("status", [302, 404, 503, 600])
def test_a_status_error_travels(status: int) -> None:
    """A StatusError keeps the whole answer, decoded before or not."""
    problem = b'{"title": "Out of credit"}'
    answer = reply(
        status,
        problem,
        Content_Type="application/problem+json",
        Retry_After="7",
        Location="https://[",
        X_Id="9",
    )
    with (
        Fault(answer) as server,
        Client(server.url, "s3cret-token", retries=0) as client,
        pytest.raises(StatusError) as caught,
    ):
        client.read("x?page=2")
    error = caught.value
    for other in [*copies(error), *(copies(error) if error.data else [])]:
        assert type(other) is type(error)
        assert (str(other), other.args) == (str(error), error.args)
        assert (other.status, other.method, other.url, other.attempts) == (
            status,
            "GET",
            f"{server.url}/x",
            1,
        )
        assert (other.content, other.data, other.problem) == (problem, *[{"title": "Out of credit"}] * 2)
        assert (other.headers["x-id"], other.retry_after) == ("9", 7.0)
        assert b"s3cret" not in pickle.dumps(other)


def test_a_raised_request_error_travels() -> None:
    """An error that was raised, with its cause and its traceback, can be pickled too."""
    with (
        Fault(End.CLOSE) as server,
        Client(server.url, retries=1, backoff_factor=0) as client,
        pytest.raises(RequestError) as caught,
    ):
        client.read("x?page=2")
    error = caught.value
    assert isinstance(error.__cause__, urllib3.exceptions.HTTPError)
    other = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (type(other), str(other)) == (type(error), str(error))
    assert (other.method, other.url, other.attempts) == ("GET", f"{server.url}/x", 2)
