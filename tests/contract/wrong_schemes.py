"""Schemes and contracts that are wrong in one thing each, with the check that fails and what it says."""

import logging
import os
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import urllib3
from urllib3 import BaseHTTPResponse

from contract.right_schemes import (
    SECRET,
    Answerer,
    AnswererContract,
    Key,
    KeyContract,
    Signer,
    SignerContract,
    Token,
    TokenContract,
    sign,
)
from cruds_core import AuthABC, AuthError, ForkSafeLock, Request, SecretSource, StatusError, hookimpl
from cruds_core.testing import AuthContract, Received

Scheme = TypeVar("Scheme", bound=type[AuthABC])


class Wrong(NamedTuple):
    """A scheme, or what its author declares of it, that is wrong.

    Attributes:
        name: What is wrong.
        check: The check that fails.
        says: What its message says.
        contract: What is declared of a right scheme.
        changes: What is declared otherwise.
        scheme: What is registered; None for the right scheme.
    """

    name: str
    check: str
    says: str
    contract: type[AuthContract]
    changes: dict[str, Any]
    scheme: type[AuthABC] | None = None


ALL: list[Wrong] = []


def fails(check: str, says: str, contract: type[AuthContract], **changes: Any) -> Callable[[Scheme], Scheme]:
    """A scheme fails a check."""

    def add(scheme: Scheme) -> Scheme:
        ALL.append(Wrong(scheme.__name__, check, says, contract, changes, scheme))
        return scheme

    return add


def fails_for_its_author(
    name: str, check: str, says: str, contract: type[AuthContract], **changes: Any
) -> None:
    """A right scheme fails a check, as its author declares what is not so."""
    ALL.append(Wrong(name, check, says, contract, changes))


@hookimpl
def cruds_register_auth(register: Any) -> None:
    """Register all but the one that is declared only."""
    for wrong in ALL:
        if wrong.scheme is not None and wrong.scheme is not NotRegistered:
            register(wrong.name, wrong.scheme)


# ------------------------------------------------------------------------------------------- delivery


def _accept(self: KeyContract, request: Received) -> None:
    pass


fails_for_its_author(
    "VerifyThatAcceptsAll",
    "test_verify_refuses_a_request_without_credentials",
    "Let it assert that they are there",
    KeyContract,
    verify=_accept,
)


@fails(
    "test_credentials_arrive_with_every_verb_and_content", "must add the credentials each time", KeyContract
)
class NotWithHead(Key):
    """Leaves a verb out."""

    def authenticate(self, request: Request) -> None:
        if request.method != "HEAD":
            super().authenticate(request)


@fails("test_credentials_arrive_with_every_verb_and_content", "2 lines of", KeyContract)
class TwoLines(Key):
    """Adds a header to one that is there."""

    def authenticate(self, request: Request) -> None:
        super().authenticate(request)
        if request.headers.get("Content-Type", "").startswith("multipart/"):
            request.headers.add("X-Key", SECRET)


@fails("test_credentials_arrive_with_every_verb_and_content", 'beside the "X-Key" of a caller', KeyContract)
class BesideTheCallers(Key):
    """Adds its header to one of the caller's."""

    def authenticate(self, request: Request) -> None:
        request.headers.add("X-Key", SECRET)


@fails("test_what_the_caller_sends_arrives", "the query did not arrive", KeyContract)
class CutsTheQuery(Key):
    """Sends the path alone."""

    def authenticate(self, request: Request) -> None:
        super().authenticate(request)
        request.url = request.url.partition("?")[0]


@fails("test_what_the_caller_sends_arrives", "the content did not arrive", KeyContract)
class TakesTheContent(Key):
    """Sends bytes that it has read, and no others."""

    def authenticate(self, request: Request) -> None:
        super().authenticate(request)
        if isinstance(request.content, bytes):
            request.content = request.content[:5]


@fails("test_what_the_caller_sends_arrives", 'the header "X-Of-The-Caller" did not arrive', KeyContract)
class TakesAHeader(Key):
    """Sends no header but those that it knows."""

    def authenticate(self, request: Request) -> None:
        super().authenticate(request)
        request.headers.discard("X-Of-The-Caller")


@fails("test_what_the_caller_sends_arrives", "the method did not arrive", KeyContract)
class PutsInPlaceOfPatching(Key):
    """Knows no PATCH."""

    def authenticate(self, request: Request) -> None:
        super().authenticate(request)
        request.method = request.method.replace("PATCH", "PUT")


@fails("test_what_the_caller_sends_arrives", "the path did not arrive", KeyContract)
class LowersThePath(Key):
    """Writes the path in its own way."""

    def authenticate(self, request: Request) -> None:
        super().authenticate(request)
        path, mark, query = request.url.partition("?")
        request.url = path.replace("%20", "-") + mark + query


fails_for_its_author(
    "one key for all",
    "test_every_attempt_has_credentials_of_its_own",
    "make it anew in each authenticate()",
    KeyContract,
    single_use=True,
)


@fails(
    "test_credentials_arrive_with_every_verb_and_content",
    "handle_challenge() must return True",
    AnswererContract,
)
class GivesUp(Answerer):
    """Answers no challenge to a verb."""

    def authenticate(self, request: Request) -> None:
        if request.method == "DELETE":
            self._nonce = None
        super().authenticate(request)

    def handle_challenge(self, request: Request, response: BaseHTTPResponse) -> bool:
        return request.method != "DELETE" and super().handle_challenge(request, response)


@fails("test_every_attempt_has_credentials_of_its_own", "the nonce was used before", SignerContract)
class SignsAFileOnce(Signer):
    """Spares the second reading of a file."""

    def __init__(self, key: SecretSource) -> None:
        super().__init__(key)
        self._signed: tuple[object, list[tuple[str, str]]] = (None, [])

    def authenticate(self, request: Request) -> None:
        file = None if isinstance(request.content, bytes) else request.content
        if file is None or file is not self._signed[0]:
            super().authenticate(request)
            self._signed = (file, [(name, request.headers[name]) for name in ("X-Nonce", "X-Signature")])
        else:
            request.headers.update(self._signed[1])


@fails("test_every_attempt_has_credentials_of_its_own", "was refused with 401", AnswererContract)
class ForgetsTheNonce(Answerer):
    """Answers each challenge once, and sends the next attempt without."""

    def handle_response(self, request: Request, response: BaseHTTPResponse) -> None:
        if response.status == 503:
            self._nonce = None


@fails("test_a_refusal_ends", "may lock an account", KeyContract)
class TriesAgain(Key):
    """Sends what was refused."""

    def handle_challenge(self, request: Request, response: BaseHTTPResponse) -> bool:
        return True


@fails("test_a_refusal_ends", "it sends nothing itself", KeyContract)
class SendsItself(Key):
    """Does what is the transport's to do."""

    def handle_challenge(self, request: Request, response: BaseHTTPResponse) -> bool:
        for _ in range(2):
            urllib3.request("GET", request.url, headers={"X-Key": SECRET}, retries=False)
        return False


@fails("test_nothing_goes_to_another_origin", 'took the header "X-Key" there', KeyContract)
class FollowsItself(Key):
    """Follows a redirect with all that it has."""

    def handle_response(self, request: Request, response: BaseHTTPResponse) -> None:
        if response.status == 302:
            urllib3.request("GET", response.headers["Location"], headers={"X-Key": SECRET}, retries=False)


@fails("test_nothing_goes_to_another_origin", "took more than one request there", KeyContract)
class LooksAhead(Key):
    """Has a look at where a redirect leads."""

    def handle_response(self, request: Request, response: BaseHTTPResponse) -> None:
        if response.status == 302:
            urllib3.request("GET", response.headers["Location"], retries=False)


def _verify_what_is_covered(self: SignerContract, request: Received) -> None:
    content = request.content if request.headers["X-Covers"] == "content" else b""
    nonce, signature = request.headers["X-Nonce"], request.headers["X-Signature"]
    assert signature == sign(SECRET, nonce, request.method, request.url, content)


@fails(
    "test_the_signature_covers_the_content",
    "a form with a file passes verify() with another content",
    SignerContract,
    verify=_verify_what_is_covered,
)
class CoversNoFiles(Signer):
    """Signs the content where that is easy, and says so."""

    def read(self, request: Request) -> bytes:
        covers = isinstance(request.content, bytes | None)
        request.headers["X-Covers"] = "content" if covers else "nothing"
        return super().read(request) if covers or not request.is_repeatable else b""


fails_for_its_author(
    "VerifyThatSparesTheContent",
    "test_the_signature_covers_the_content",
    "Sign request.content",
    AnswererContract,
    signs_content=True,
)


@fails(
    "test_a_stream_that_cannot_be_read_twice_is_signed_or_refused",
    "a stream that cannot be read twice arrived without",
    SignerContract,
)
class ReadsAPipe(Signer):
    """Leaves nothing of a stream to be sent."""

    def read(self, request: Request) -> bytes:
        if isinstance(request.content, bytes | None):
            return request.content or b""
        return request.content.read()


@fails(
    "test_a_stream_that_cannot_be_read_twice_is_signed_or_refused", "request.is_repeatable", SignerContract
)
class RewindsAPipe(ReadsAPipe):
    """Rewinds what cannot be rewound."""

    def read(self, request: Request) -> bytes:
        content = super().read(request)
        if not isinstance(request.content, bytes | None):
            request.content.seek(0)
        return content


# ------------------------------------------------------------------------------------------ installing


@fails("test_it_is_built_by_its_name", "cruds_register_auth(register)", KeyContract)
class NotRegistered(Key):
    """Is declared, and that is all."""


fails_for_its_author(
    "NotInstalled", "test_it_is_built_by_its_name", "pip install -e .", KeyContract, scheme="kye"
)
fails_for_its_author(
    "NoName", "test_it_is_built_by_its_name", 'NAME = "package.plugin"', KeyContract, scheme=""
)


def _no_options(self: KeyContract, url: str) -> dict[str, Any]:
    return {}


fails_for_its_author(
    "WithoutAnOption",
    "test_it_is_built_by_its_name",
    "missing a required argument: 'key'",
    KeyContract,
    secrets=(),
    bad_options=(),
    options=_no_options,
)


@fails("test_it_is_built_by_its_name", "KeyError: 'no_such_variable'", KeyContract)
class CannotBeBuilt(Key):
    """Raises whatever it raises."""

    def __init__(self, key: SecretSource) -> None:
        raise KeyError("no_such_variable")


@fails("test_options_are_checked_when_it_is_made", "Check every option in __init__", KeyContract)
class TakesAnything(Key):
    """Makes a str of whatever it is given."""

    def __init__(self, key: SecretSource) -> None:
        super().__init__(key if isinstance(key, str) else str(key))


@fails("test_options_are_checked_when_it_is_made", "**kwargs that take any name", KeyContract)
class TakesAnyName(Key):
    """Takes an option that is misspelt."""

    def __init__(self, key: SecretSource, **options: object) -> None:
        super().__init__(key)


@fails(
    "test_options_are_checked_when_it_is_made",
    "it takes key='a\\nb'",
    KeyContract,
    bad_options=({"key": "a\nb"},),
)
class TakesALineBreak(Key):
    """Takes what cannot be sent."""

    def __init__(self, key: SecretSource) -> None:
        super().__init__(key.replace("\n", "") if isinstance(key, str) else key)


@fails("test_options_are_checked_when_it_is_made", "does not name it", KeyContract)
class NamesNothing(Key):
    """Says that something is wrong, and not what; a monkey has a key in it."""

    def __init__(self, key: SecretSource) -> None:
        try:
            super().__init__(key)
        except (TypeError, ValueError):
            raise ValueError("a monkey must have typed that") from None


@fails(
    "test_options_are_checked_when_it_is_made",
    "shows a secret",
    KeyContract,
    bad_options=({"key": "one\ntwo three"},),
)
class ShowsWhatItGot(Key):
    """Repeats in an error what it was given."""

    def __init__(self, key: SecretSource) -> None:
        if isinstance(key, str) and "\n" in key:
            raise ValueError(f"key must be one line (got {key!r})")
        super().__init__(key)


@fails("test_options_are_checked_when_it_is_made", "make it a TypeError or ValueError", KeyContract)
class AssertsItsOptions(Key):
    """Raises what nobody expects."""

    def __init__(self, key: SecretSource) -> None:
        assert key, "key is empty"
        super().__init__(key)


# -------------------------------------------------------------------------------------------- secrecy


def _short_key(self: KeyContract, url: str) -> dict[str, Any]:
    return {"key": "short"}


def _verify_a_short_key(self: KeyContract, request: Received) -> None:
    assert request.headers["X-Key"] == "short"


fails_for_its_author(
    "SecretsThatAreTooShort",
    "test_its_secrets_can_be_told_from_words",
    "8 characters or more",
    KeyContract,
    options=_short_key,
    verify=_verify_a_short_key,
)
fails_for_its_author(
    "SecretsThatAreNoOption",
    "test_its_secrets_can_be_told_from_words",
    'secrets names "password", which options() does not have',
    KeyContract,
    secrets=("password",),
)


@fails("test_its_repr_hides_secrets", "A dataclass shows its fields", KeyContract)
class ShowsItInItsRepr(Key):
    """Is as open as a dataclass."""

    def __repr__(self) -> str:
        return f"ShowsItInItsRepr(key={str(self._key.reveal())!r})"


@fails("test_its_repr_hides_secrets", "the repr or str of ShowsItAsAStr", KeyContract)
class ShowsItAsAStr(Key):
    """Hides it from repr alone."""

    def __str__(self) -> str:
        return f"key {self._key.reveal()}"


@fails("test_nothing_that_is_printed_shows_secrets", "no headers, no options", KeyContract)
class LogsIt(Key):
    """Logs headers for those who debug."""

    def authenticate(self, request: Request) -> None:
        super().authenticate(request)
        logging.getLogger("contract.wrong_schemes").debug("sent %s", dict(request.headers))


@fails("test_nothing_that_is_printed_shows_secrets", "no headers, no options", KeyContract)
class LogsItApart(Key):
    """Logs to a place of its own."""

    def authenticate(self, request: Request) -> None:
        super().authenticate(request)
        logger = logging.getLogger("contract.wrong_schemes.apart")
        logger.propagate = False
        logger.info("sent %s", dict(request.headers))


@fails("test_nothing_that_is_printed_shows_secrets", "printed shows a secret", KeyContract)
class PrintsIt(Key):
    """Has a line left of when it was debugged."""

    def handle_challenge(self, request: Request, response: BaseHTTPResponse) -> bool:
        print("refused:", dict(request.headers))
        return False


@fails("test_nothing_that_is_printed_shows_secrets", "warned of", KeyContract)
class WarnsOfIt(Key):
    """Says which key it is that was refused."""

    def handle_challenge(self, request: Request, response: BaseHTTPResponse) -> bool:
        warnings.warn(f"the key {self._key.reveal()} was refused", stacklevel=2)
        return False


@fails("test_failures_are_errors_of_cruds", "Raise an AuthError", TokenContract)
class TrustsItsServer(Token):
    """Takes what a server answers for what was asked."""

    def access_token(self) -> str:
        answer: Any = self._client.create("token", None)
        self.expiry = time.monotonic() + 3600
        return str(answer["token"])


@fails("test_failures_are_errors_of_cruds", "the challenge", AnswererContract)
class TrustsAChallenge(Answerer):
    """Parses what it cannot."""

    def nonce_in(self, challenge: str) -> str | None:
        return super().nonce_in(challenge) if challenge.startswith("Other") else challenge.split('"')[3]


@fails("test_errors_hide_secrets", "stands in the message of AuthError", TokenContract)
class RepeatsAnAnswer(Token):
    """Says what the server said."""

    def access_token(self) -> str:
        try:
            return super().access_token()
        except StatusError as error:
            said = error.content
        raise AuthError(f"no token: {said.decode()}")


class _Fails(Key):
    """Fails after a 401."""

    def handle_challenge(self, request: Request, response: BaseHTTPResponse) -> bool:
        self.fail()
        return False

    def fail(self) -> None:
        raise NotImplementedError


@fails("test_errors_hide_secrets", "stands in the message of ValueError", KeyContract)
class ShowsItInTheCause(_Fails):
    """Raises an error from one that shows it."""

    def fail(self) -> None:
        raise AuthError("refused") from ValueError(f"{self._key.reveal()} was refused")


@fails("test_errors_hide_secrets", "stands in the message of KeyError", KeyContract)
class ShowsItInTheContext(_Fails):
    """Raises an error while it handles one that shows it."""

    def fail(self) -> None:
        try:
            raise KeyError(str(self._key.reveal()))
        except KeyError:
            raise AuthError("refused")  # noqa: B904 - that is what is wrong


@fails("test_errors_hide_secrets", 'the local variable "key" of fail()', KeyContract)
class ShowsItInALocal(_Fails):
    """Holds a plain text where it raises."""

    def fail(self) -> None:
        key = str(self._key.reveal())
        if key:
            raise AuthError("refused")


@fails("test_errors_hide_secrets", "stands in the message of AuthError", KeyContract)
class ShowsItInANote(_Fails):
    """Adds a note."""

    def fail(self) -> None:
        error = AuthError("refused")
        error.add_note(f"the key was {self._key.reveal()}")
        raise error


class _QuietError(AuthError):
    def __str__(self) -> str:
        return "refused"


@fails("test_errors_hide_secrets", "the repr of _QuietError", KeyContract)
class ShowsItInTheArguments(_Fails):
    """Hides it from str alone."""

    def fail(self) -> None:
        raise _QuietError(str(self._key.reveal()))


@fails("test_errors_hide_secrets", "stands in the message of ValueError", KeyContract)
class ShowsItInAGroup(_Fails):
    """Has several causes."""

    def fail(self) -> None:
        raise AuthError("refused") from ExceptionGroup("all", [ValueError(f"{self._key.reveal()} is wrong")])


@fails("test_its_pickle_hides_secrets", "leave tokens out of __getstate__()", KeyContract)
class PicklesIt(Key):
    """Holds the plain text."""

    def __getstate__(self) -> dict[str, Any]:
        return {"key": str(self._key.reveal())}


# -------------------------------------------------------------------------------------------- sharing


@fails("test_two_clients_share_it", "by one of two Clients in 8 threads arrived without", KeyContract)
class KeepsTheRequest(Key):
    """Keeps what belongs to one call where all calls see it."""

    _request: Request

    def authenticate(self, request: Request) -> None:
        if request.content is None:
            super().authenticate(request)
        else:
            self._request = request
            time.sleep(0.02)
            super().authenticate(self._request)


class _Renews(Token):
    """Holds its token itself, as it should."""

    def __init__(self, url: str, key: SecretSource) -> None:
        super().__init__(url, key)
        self.token = ""
        self.lock: Any = ForkSafeLock()

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def authenticate(self, request: Request) -> None:
        with self.lock:
            if not self.is_valid():
                self.token = self.access_token()
        request.headers["Authorization"] = f"Bearer {self.token}"

    def handle_challenge(self, request: Request, response: BaseHTTPResponse) -> bool:
        with self.lock:
            if request.headers["Authorization"] == f"Bearer {self.token}":
                self.token = self.access_token()
        return True


@fails("test_one_renewal_serves_32_threads", "32 threads that have no token yet got", TokenContract)
class StampedesAtFirst(_Renews):
    """Asks nobody else when it has no token."""

    def authenticate(self, request: Request) -> None:
        if not self.token:
            self.token = self.access_token()
        super().authenticate(request)


@fails("test_one_renewal_serves_32_threads", "32 threads whose token is refused with 401 got", TokenContract)
class StampedesAfterARefusal(_Renews):
    """Takes each 401 for one of the token that it holds now."""

    def handle_challenge(self, request: Request, response: BaseHTTPResponse) -> bool:
        self.token = self.access_token()
        return True


@fails("test_one_renewal_serves_32_threads", "32 threads whose token has expired got", TokenContract)
class StampedesAtExpiry(_Renews):
    """Asks nobody else when its token has expired."""

    def authenticate(self, request: Request) -> None:
        if self.token and not self.is_valid():
            self.token = self.access_token()
        super().authenticate(request)


@fails("test_one_renewal_serves_32_threads", "handle_challenge() must return True", TokenContract)
class TakesA401ForTheEnd(Token):
    """Renews nothing after a 401."""

    def handle_challenge(self, request: Request, response: BaseHTTPResponse) -> bool:
        return False


@fails("test_it_works_after_a_fork", "use cruds_core.ForkSafeLock", TokenContract)
class HoldsAPlainLock(_Renews):
    """Has a lock that stays held in the child."""

    def __init__(self, url: str, key: SecretSource) -> None:
        super().__init__(url, key)
        self.lock = threading.Lock()


@fails("test_it_works_after_a_fork", "use cruds_core.ForkSafeLock", KeyContract)
class HoldsAPlainLockForAMoment(Key):
    """Has such a lock that hardly ever is held when a process forks."""

    def __init__(self, key: SecretSource) -> None:
        super().__init__(key)
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def authenticate(self, request: Request) -> None:
        with self._lock:
            super().authenticate(request)


@fails("test_it_works_after_a_fork", "AuthError: this is not the process", KeyContract)
class KnowsItsProcess(Key):
    """Cannot be used in a child for another reason."""

    def __init__(self, key: SecretSource) -> None:
        super().__init__(key)
        self._process = os.getpid()

    def authenticate(self, request: Request) -> None:
        if os.getpid() != self._process:
            raise AuthError("this is not the process that made it")
        super().authenticate(request)
