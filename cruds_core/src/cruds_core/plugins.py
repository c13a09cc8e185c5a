"""The registry of plugins: finding, loading and naming auth schemes, and the observers of requests."""

from __future__ import annotations

import difflib
import inspect
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from .auth import AuthABC
from .event import Observers, default_observers
from .exceptions import PluginConflictError, PluginError, UnknownSchemeError
from .loading import Module, Offer, hooks_of, installed, observers_of
from .lock import ForkSafeLock
from .selection import VARIABLE, Selection, normal
from .survey import SchemeReport, State

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.metadata import EntryPoint

    from .event import Observer
    from .loading import Factory

    _Watcher = tuple[object, tuple[Observer, ...], tuple[Observer, ...]]

# Schemes that we ship, so that a message can name what to install.
_OURS = {
    "basic": "cruds-auth-basic",
    "digest": "cruds-auth-basic",
    "apikey": "cruds-auth-basic",
    "oauth2": "cruds-auth-oauth2",
}


class Plugins:
    """A registry of auth schemes and observers.

    Nothing is scanned before the first scheme is asked for by name, and then only the plugin that offers it
    is imported. A plugin that fails breaks its own schemes only.

    Args:
        entry_points: The entry points to choose from; those of the group ``cruds.auth`` that are installed
            unless given.
        allowed: What ``CRUDS_PLUGINS`` holds unless given: names of schemes or distributions that may be
            used, separated by commas; with a ``-`` before it, a name that may not. ``""`` allows none.
        observers: Where observers are kept; a place of its own unless given.

    Raises:
        TypeError: An argument has the wrong type.
    """

    def __init__(
        self,
        entry_points: Iterable[EntryPoint] | None = None,
        allowed: str | None = None,
        observers: Observers | None = None,
    ) -> None:
        if allowed is not None and not isinstance(allowed, str):
            msg = f"allowed must be a str (got {type(allowed).__name__})"
            raise TypeError(msg)
        self._offers = None if entry_points is None else _offers(_checked(entry_points))
        self._selection = (
            Selection(os.environ.get(VARIABLE)) if allowed is None else Selection(allowed, "allowed")
        )
        self._loaded: dict[str, Module] = {}
        self._lock = ForkSafeLock()
        self._watchers: list[_Watcher] = []
        #: The observers that were registered.
        self.observers = observers if observers is not None else Observers()

    def create(self, scheme: str, /, **options: Any) -> AuthABC:
        """Build a scheme by its name.

        Args:
            scheme: The name, as its distribution declares it.
            **options: The parameters of the scheme.

        Raises:
            UnknownSchemeError: No plugin that may be used offers it.
            BrokenPluginError: The plugin that offers it failed.
            PluginConflictError: Several distributions offer it.
            TypeError: An option is missing, or is none of the scheme's.
            ValueError: An option has a value that the scheme cannot work with.
        """
        factory = self.factory(scheme)
        _check_options(scheme, factory, options)
        auth: object = factory(**options)
        if not isinstance(auth, AuthABC):
            raise self._offer(scheme).broken(f"it built a {type(auth).__name__}, which is not an AuthABC")
        return auth

    def factory(self, scheme: str) -> Factory:
        """What builds a scheme, mostly its class.

        Args:
            scheme: The name, as its distribution declares it.

        Raises:
            UnknownSchemeError: No plugin that may be used offers it.
            BrokenPluginError: The plugin that offers it failed.
            PluginConflictError: Several distributions offer it.
            TypeError: ``scheme`` is not a str.
        """
        if not isinstance(scheme, str):
            msg = f"scheme must be a str (got {type(scheme).__name__})"
            raise TypeError(msg)
        offer = self._offer(scheme)
        with self._lock:
            module = self._loaded.setdefault(f"{offer.distribution}: {offer.entry_point.value}", Module())
        names = {other.scheme for other in self._scan() if other.distribution == offer.distribution}
        factories = module.load(offer, names)
        if scheme not in factories:
            named = offer.entry_point
            raise offer.broken(
                f'it does not register it: its entry point is to name a module, "{named.module}" and not '
                f'"{named.value}"'
                if named.attr
                else "it does not register it: its module needs a hookimpl of cruds_register_auth(register)"
                f' that calls register("{scheme}", ...)'
            )
        factory = factories[scheme]
        if isinstance(factory, type) and not issubclass(factory, AuthABC):
            raise offer.broken(f"it registers the class {factory.__name__}, which is no subclass of AuthABC")
        return factory

    def schemes(self) -> list[str]:
        """The names of the schemes that are installed and may be used. Imports no plugin."""
        return sorted({offer.scheme for offer in self._allowed()})

    def offers(self) -> list[Offer]:
        """What is installed and may be used: the schemes that distributions declare. Imports no plugin."""
        return list(self._allowed())

    def survey(self, *, load: bool = False) -> list[SchemeReport]:
        """What is installed: each scheme of each distribution, sorted, and what keeps it from being used.

        Args:
            load: Whether each plugin that may be used is imported, to find those that are broken. Else
                metadata alone is read.
        """
        offers = sorted(self._scan(), key=lambda offer: (offer.scheme, offer.distribution))
        return [self._report(offer, load=load) for offer in offers]

    def _report(self, offer: Offer, *, load: bool) -> SchemeReport:
        state, problem = State.INSTALLED, None
        try:
            if not self._allows(offer):
                raise self._blocked(offer)
            self._offer(offer.scheme)
            if load:
                self.factory(offer.scheme)
                state = State.OK
        except UnknownSchemeError as error:
            state, problem = State.BLOCKED, str(error)
        except PluginConflictError as error:
            state, problem = State.IN_CONFLICT, str(error)
        except PluginError as error:
            state, problem = State.BROKEN, str(error)
        return SchemeReport(offer.scheme, offer.distribution, offer.version, state, problem)

    def register(self, observer: object) -> None:
        """Add an observer of requests.

        Args:
            observer: An object or a module with ``cruds_request_started`` or ``cruds_request_finished``,
                marked with ``hookimpl``.

        Raises:
            PluginError: It has none of the two, or one with another name or signature, or a wrapper; or it is
                registered already.
        """
        hooks = hooks_of(observer)
        started, finished = (
            observers_of(hooks.cruds_request_started),
            observers_of(hooks.cruds_request_finished),
        )
        if not started and not finished:
            msg = "the observer implements neither cruds_request_started nor cruds_request_finished"
            raise PluginError(msg)
        with self._lock:
            if any(watcher[0] is observer for watcher in self._watchers):
                msg = "the observer is registered already"
                raise PluginError(msg)
            self._set_watchers([*self._watchers, (observer, started, finished)])

    def unregister(self, observer: object) -> None:
        """Take an observer away. It is still told of the end of attempts that it saw start.

        Args:
            observer: What was registered.

        Raises:
            PluginError: It is not registered.
        """
        with self._lock:
            others = [watcher for watcher in self._watchers if watcher[0] is not observer]
            if len(others) == len(self._watchers):
                msg = "the observer is not registered"
                raise PluginError(msg)
            self._set_watchers(others)

    def _set_watchers(self, watchers: list[_Watcher]) -> None:
        self._watchers = watchers
        self.observers.watchers = tuple((started, finished) for _, started, finished in watchers)

    def _scan(self) -> list[Offer]:
        if self._offers is None:
            self._offers = _offers(installed())
        return self._offers

    def _allows(self, offer: Offer) -> bool:
        return self._selection.allows(offer.scheme, offer.distribution)

    def _allowed(self) -> list[Offer]:
        return [offer for offer in self._scan() if self._allows(offer)]

    def _offer(self, scheme: str) -> Offer:
        offers = [offer for offer in self._scan() if offer.scheme == scheme and self._allows(offer)]
        if not offers:
            raise self._unknown(scheme)
        if len(offers) > 1:
            offers.sort(key=lambda offer: offer.distribution)
            all_of_them = " and ".join(f'"{offer.distribution}"' for offer in offers)
            msg = (
                f'scheme "{scheme}" is offered by {all_of_them}; keep one: block the other with '
                f"{self._selection.blocking(offers[0].distribution)} or {offers[0].removal}"
            )
            raise PluginConflictError(msg)
        return offers[0]

    def _blocked(self, offer: Offer) -> UnknownSchemeError:
        remedy = self._selection.allowing(offer.scheme, offer.distribution)
        return UnknownSchemeError(
            f'scheme "{offer.scheme}" is installed but blocked by {self._selection}; to allow it, {remedy}'
        )

    def _unknown(self, scheme: str) -> UnknownSchemeError:
        for offer in self._scan():
            if offer.scheme == scheme:
                return self._blocked(offer)
        here = self.schemes()
        installed = ", ".join(f'"{name}"' for name in here) or "no schemes"
        message = f'scheme "{scheme}" is not installed; {sys.executable} has {installed}'
        if alike := difflib.get_close_matches(scheme.lower(), here, n=1):
            message += f'; did you mean "{alike[0]}"?'
        distribution = _OURS.get(scheme.lower())
        if distribution and scheme.lower() not in here:
            message += f"; install it with: {sys.executable} -m pip install {distribution}"
        elif not alike:
            message += f"; install the distribution that offers it with: {sys.executable} -m pip install ..."
        return UnknownSchemeError(message)


def _checked(entry_points: object) -> list[EntryPoint]:
    is_several = isinstance(entry_points, Iterable)
    given = list(cast("Iterable[Any]", entry_points)) if is_several else [cast("Any", entry_points)]
    # importlib_metadata has a class of its own.
    if wrong := [one for one in given if not _is_entry_point(one)]:
        msg = f"entry_points must be entry points (got {type(wrong[0]).__name__})"
        raise TypeError(msg)
    return given


def _is_entry_point(one: object) -> bool:
    texts = (getattr(one, name, None) for name in ("name", "value"))
    return all(isinstance(text, str) for text in texts) and hasattr(one, "load") and hasattr(one, "dist")


def _offers(entry_points: Iterable[EntryPoint]) -> list[Offer]:
    """What entry points offer, without what a distribution repeats that was left behind by half."""
    found: dict[tuple[str, str], Offer] = {}
    for offer in map(Offer.of, entry_points):
        found.setdefault((offer.scheme, normal(offer.distribution)), offer)
    return list(found.values())


def _check_options(scheme: str, factory: Factory, options: Mapping[str, object]) -> None:
    made_by: Any = (factory.__new__, getattr(factory, "__init__", None))
    if made_by == (AuthABC.__new__, object.__init__):
        signature = inspect.Signature()
    else:
        try:
            signature = inspect.signature(factory)
        except ValueError:  # it is written in C, and will say itself what it does not take
            return
    takes = ", ".join(signature.parameters) or "no options"
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        for name in options:
            if name not in signature.parameters:
                alike = difflib.get_close_matches(name, signature.parameters, n=1)
                hint = f'; did you mean "{alike[0]}"?' if alike else ""
                msg = f'scheme "{scheme}" has no option "{name}"{hint}; it takes {takes}'
                raise TypeError(msg)
    try:
        signature.bind(**options)
    except TypeError as error:
        given = ", ".join(options) or "none"
        msg = f'scheme "{scheme}": {error} (given: {given}); it takes {takes}'
        raise TypeError(msg) from None


_default: Plugins | None = None
_default_lock = ForkSafeLock()


def default() -> Plugins:
    """The registry of the program, made at the first use."""
    global _default
    with _default_lock:
        if _default is None:
            _default = Plugins(observers=default_observers)
        return _default
