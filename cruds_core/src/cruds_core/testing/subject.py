"""What an author gives to the contract, and how its checks use it."""

from __future__ import annotations

import difflib
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeVar, cast
from unittest import SkipTest

from ..client import Client
from ..exceptions import CrudsError
from ..plugins import Plugins, default
from .leaks import Leaks
from .loopback import API, Loopback, Received
from .server import Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from ..auth import AuthABC
    from .loopback import Answer

Returned = TypeVar("Returned")

#: The versions of the contract that there are.
VERSIONS = (1,)

#: What need not be declared, and so would not be missed if it were misspelt.
OPTIONAL = (
    "version",
    "secrets",
    "bad_options",
    "sends_header",
    "signs_content",
    "single_use",
    "answers_challenge",
    "renews_tokens",
    "needs_server",
    "expire",
)

#: Seconds after which what a check does is held to be stuck.
LIMIT = 30.0

#: The challenge of the API to a scheme that declares none (RFC 6750, section 3).
CHALLENGE = 'Bearer realm="contract", error="invalid_token"'


def needs(capability: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A check that is made only of schemes that declare a capability."""

    def mark(check: Callable[..., None]) -> Callable[..., None]:
        check.capability = capability  # type: ignore[attr-defined]
        return check

    return mark


class Subject:
    """The scheme that is checked, as its author describes it."""

    version: ClassVar[int] = 1
    scheme: ClassVar[str] = ""
    plugins: ClassVar[Plugins | None] = None
    secrets: ClassVar[tuple[str, ...]] = ()
    bad_options: ClassVar[tuple[dict[str, Any], ...]] = ()
    sends_header: ClassVar[str | None] = "Authorization"
    signs_content: ClassVar[bool] = False
    single_use: ClassVar[bool] = False
    answers_challenge: ClassVar[str | None] = None
    renews_tokens: ClassVar[bool] = False
    needs_server: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.version not in VERSIONS:
            msg = f"{cls.__name__}.version must be one of {VERSIONS} (got {cls.version!r})"
            raise TypeError(msg)
        cls._check_kinds()
        for name in vars(cls):
            # What must be there is missed anyway, if it is misspelt.
            alike = difflib.get_close_matches(name, OPTIONAL, n=1, cutoff=0.8)
            if alike and not hasattr(Subject, name) and not name.startswith(("_", "test")):
                msg = (
                    f'{cls.__name__}.{name} is nothing of the contract; did you mean "{alike[0]}"? '
                    f"If not, name it _{name}"
                )
                raise TypeError(msg)
        for base in reversed(cls.__mro__[1:]):
            for name, check in vars(base).items():
                capability = getattr(check, "capability", None)
                if capability is not None and name not in vars(cls):
                    setattr(cls, name, check if getattr(cls, capability) else None)

    @classmethod
    def _check_kinds(cls) -> None:
        """Refuse the slips that would fail every check: ``("key")`` is no tuple."""
        declared: dict[str, tuple[bool, str]] = {
            "secrets": (_is_tuple_of(cls.secrets, str), 'a tuple of names, like ("key",)'),
            "bad_options": (_is_tuple_of(cls.bad_options, dict), 'a tuple of dicts, like ({"key": ""},)'),
            "sends_header": (
                isinstance(cls.sends_header, (str, type(None))),
                "the name of a header, or None",
            ),
            "answers_challenge": (
                isinstance(cls.answers_challenge, (str, type(None))),
                "the WWW-Authenticate that it answers, or None",
            ),
        }
        for name, (is_right, kind) in declared.items():
            if not is_right:
                msg = f"{cls.__name__}.{name} must be {kind} (got {getattr(cls, name)!r})"
                raise TypeError(msg)

    def options(self, url: str) -> dict[str, Any]:
        """The options to build the scheme with.

        Args:
            url: Where the server of the contract listens, without a trailing slash. Requests go to its
                ``/api``; `respond` answers all others.
        """
        raise NotImplementedError(f"{type(self).__name__} must define options(url)")

    def verify(self, request: Received) -> None:
        """Assert that the credentials of a request are there and right.

        Asked once of each request, in the order of arrival where the scheme answers challenges.

        Args:
            request: The request as it arrived.

        Raises:
            Exception: They are not; mostly an AssertionError.
        """
        raise NotImplementedError(f"{type(self).__name__} must define verify(request)")

    def respond(self, request: Received) -> Reply:
        """Answer as the server that the scheme talks to, where it has one.

        Args:
            request: What the scheme asks.
        """
        raise NotImplementedError(f"{type(self).__name__} must define respond(request): needs_server is True")

    def challenge(self) -> str:
        """The ``WWW-Authenticate`` of a refusal: ``answers_challenge``, unless each is to be another one."""
        return self.answers_challenge or CHALLENGE

    def accept(self, request: Received) -> Reply:
        """Answer a request that has its credentials, with the headers that the scheme is to learn from.

        Args:
            request: The request as it arrived.
        """
        return Reply.json({})

    def expire(self, auth: AuthABC) -> None:
        """Make the token that the scheme holds expire. Its expiry is checked where this is defined.

        Args:
            auth: The scheme.
        """

    @contextmanager
    def _serve(self, api: Answer | None = None) -> Generator[Loopback]:
        """A server for as long as a check takes. What verify or respond raised is raised here again."""
        with Loopback(api or self._protected, self.respond if self.needs_server else _nothing) as server:
            yield server
        if server.faults:
            raise server.faults[0]

    def _build(self, server: Loopback) -> AuthABC:
        """The scheme, built by its name."""
        try:
            return self._registry.create(self.scheme, **self.options(server.url))
        except Exception as error:
            msg = f"it cannot be built, as test_it_is_built_by_its_name says: {error}"
            raise SkipTest(msg) from error

    @property
    def _registry(self) -> Plugins:
        return self.plugins or default()

    def _protected(self, request: Received) -> Reply:
        """Answer as an API does: without credentials it asks for them, where the scheme waits for that."""
        if self.answers_challenge is None or self._is_verified(request):
            return self.accept(request)
        return self._refuse(request)

    def _refuse(self, _: Received) -> Reply:
        """Answer 401 with a challenge."""
        return Reply.json({}, 401, **{"WWW-Authenticate": self.challenge()})

    def _is_verified(self, request: Received) -> bool:
        return self._fault(request) is None

    def _fault(self, request: Received) -> str | None:
        if not request.verdict:
            request.verdict.append(self._verdict(request))
        return request.verdict[0]

    def _verdict(self, request: Received) -> str | None:
        verify: Callable[[Received], object] = self.verify
        try:
            returned = verify(request)
        except AssertionError as error:
            return str(error) or "its credentials are not those that it asserts"
        except Exception as error:  # as of headers["Authorization"] where there is none
            return f"{type(error).__name__}: {error}"
        return None if returned is None else f"it returned {returned!r}, and is to assert instead"

    def _check(self, request: Received, what: str) -> None:
        """Fail unless a request has its credentials."""
        lines = len(request.headers.getlist(self.sends_header)) if self.sends_header else 1
        if lines > 1:
            self._fail(
                f'{what} arrived with {lines} lines of "{self.sends_header}".\n'
                "Set request.headers[...] rather than add to it."
            )
        if fault := self._fault(request):
            self._fail(
                f"{what} arrived without the right credentials. verify() refused it: {fault}\n"
                "authenticate(request) is called for every attempt of every request, with the final URL, "
                "headers and content, and must add the credentials each time: none are kept for the next."
            )
        if lines == 0:
            self._fail(
                f'{what} passed verify(), and has no "{self.sends_header}".\n'
                "Declare with sends_header where the credentials are: a header, or None for elsewhere."
            )

    def _know(self, server: Loopback) -> Leaks:
        """All that must not be seen: secret options, and credentials that arrived."""
        options = self.options(server.url)
        leaks = Leaks()
        for name in self.secrets:
            leaks.know(options.get(name))
        # Where secrets are declared, the other options are none, such as a user's name in a header.
        public = [value for name, value in options.items() if self.secrets and name not in self.secrets]
        for request in server.calls:
            leaks.know_credentials(request.headers, public)
        return leaks

    def _within(self, what: str, act: Callable[[], Returned]) -> Returned:
        """Do something that may never end, and fail where it does not."""
        done: list[Returned] = []
        raised: list[BaseException] = []

        def run() -> None:
            try:
                done.append(act())
            except BaseException as error:
                raised.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(LIMIT)
        for error in raised:
            if isinstance(error, (CrudsError, AssertionError)) or not isinstance(error, Exception):
                raise error
            self._fail(
                f"{what} raised {type(error).__name__}: {error}\n"
                "What a scheme raises is an AuthError, or another CrudsError.",
                error,
            )
        if not done:
            self._fail(f"{what} had not ended after {LIMIT:.0f} s.")
        return done[0]

    def _fail(self, message: str, cause: Exception | None = None) -> NoReturn:
        raise AssertionError(f'the scheme "{self.scheme}": {message}') from cause


def client_of(server: Loopback, auth: AuthABC | None, **options: Any) -> Client:
    """A Client of the server's API, which tries once unless told otherwise."""
    return Client(server.url + API, auth, retries=options.pop("retries", 0), **options)


def ends(send: Callable[[], object]) -> Exception | None:
    """Do something that may fail, and return how."""
    try:
        send()
    except Exception as error:  # of whatever class: that is another check's to judge
        return error
    return None


def _is_tuple_of(value: object, kind: type) -> bool:
    return isinstance(value, (tuple, list)) and all(isinstance(one, kind) for one in cast("Any", value))


def _nothing(_: Received) -> Reply:
    return Reply.json({"detail": "needs_server is not declared"}, 404)
