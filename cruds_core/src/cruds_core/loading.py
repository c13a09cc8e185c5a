"""Loading one plugin: importing its module and letting it register, without leaving anything half done."""

from __future__ import annotations

import difflib
import inspect
import logging
import sys
from typing import TYPE_CHECKING, NamedTuple, Self

import pluggy

from . import hookspecs
from .exceptions import BrokenPluginError, PluginError
from .lock import ForkSafeLock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from importlib.metadata import Distribution, EntryPoint

    from .auth import AuthABC

    Factory = Callable[..., AuthABC]

logger = logging.getLogger(__name__)

#: The entry-point group of auth schemes. The name of an entry point is the name of its scheme.
GROUP = "cruds.auth"

_PIP = f"{sys.executable} -m pip"
_HOOKS = {name: hook for name, hook in vars(hookspecs).items() if name.startswith("cruds_")}


def installed() -> list[EntryPoint]:
    """The entry points of our group that are installed, but for those of files that cannot be read."""
    from importlib.metadata import distributions, entry_points  # late: it costs more than all the rest

    try:
        return list(entry_points(group=GROUP))
    except Exception:  # any distribution, of a plugin or not, may have a file that was written by half
        return [entry_point for one in distributions() for entry_point in _readable(one)]


def _readable(distribution: Distribution) -> list[EntryPoint]:
    try:
        return list(distribution.entry_points.select(group=GROUP))
    except Exception as error:
        where = getattr(distribution, "_path", None)  # its name may be as broken
        logger.warning(
            "entry points that cannot be read are passed over: %s in %s", type(error).__name__, where
        )
        return []


class Offer(NamedTuple):
    """A scheme that an installed distribution declares.

    Attributes:
        scheme: The name of the scheme.
        distribution: The name of the distribution.
        version: Its version; None where nothing tells it.
        leftover: The folder of its metadata, where pip was stopped in the middle and left no name in it.
        entry_point: What declares the scheme.
    """

    scheme: str
    distribution: str
    version: str | None
    leftover: str | None
    entry_point: EntryPoint

    @classmethod
    def of(cls, entry_point: EntryPoint) -> Self:
        """The offer that an entry point makes.

        Args:
            entry_point: The entry point.
        """
        module = entry_point.value.partition(":")[0]  # a value that cannot be read has no "module"
        if entry_point.dist is None:
            return cls(entry_point.name, module, None, None, entry_point)
        name = version = None
        is_whole = False
        try:
            metadata = entry_point.dist.metadata
            name, version = (next(iter(metadata.get_all(key, [])), None) for key in ("Name", "Version"))
        except FileNotFoundError:  # as importlib_metadata has it, which takes over wherever it is imported
            pass
        except UnicodeDecodeError:  # the name of an author in another encoding
            is_whole = True
        if name:
            return cls(entry_point.name, name, version, None, entry_point)
        folder = getattr(entry_point.dist, "_path", None)  # there is no public way to it
        if folder is None:
            return cls(entry_point.name, module, version, None, entry_point)
        name, _, told = folder.stem.partition("-")  # NAME-VERSION.dist-info
        leftover = None if is_whole else str(folder)
        return cls(entry_point.name, name, version or told or None, leftover, entry_point)

    def broken(self, reason: str) -> BrokenPluginError:
        """The error that says which plugin is broken, why, and how to mend it or be rid of it.

        Args:
            reason: Why.
        """
        remedy = self.removal
        if self.leftover is None:
            remedy = f"upgrade it with: {_PIP} install --upgrade {self.distribution}; or {remedy}"
        plugin = f'the plugin "{self.distribution}", which offers the scheme "{self.scheme}", is broken'
        return BrokenPluginError(f"{plugin}: {reason}; {remedy}")

    @property
    def removal(self) -> str:
        """How to be rid of it."""
        if self.leftover is not None:  # without a name, pip does not see it
            return f"delete what pip left of it: {self.leftover}"
        return f"remove it with: {_PIP} uninstall {self.distribution}"


class Module:
    """A plugin's module, loaded at most once, with what it registered or why it failed."""

    def __init__(self) -> None:
        self._lock = ForkSafeLock()  # of its own: a plugin that is slow to import delays no other
        self._factories: dict[str, Factory] | None = None
        self._failure: tuple[str, BaseException | None] | None = None

    def load(self, offer: Offer, names: set[str]) -> Mapping[str, Factory]:
        """What the module registers: factories by the names of their schemes.

        Args:
            offer: One of the schemes that it offers.
            names: The schemes that its distribution declares.

        Raises:
            BrokenPluginError: It cannot be imported, or broke a rule when it registered.
        """
        if self._lock.is_mine:
            raise offer.broken("it asks for itself while it is loaded")
        with self._lock:
            if self._factories is None and self._failure is None:
                try:
                    self._factories = _load(offer.entry_point, names)
                except KeyboardInterrupt:
                    raise
                except BaseException as error:  # a plugin may call sys.exit(), or panic in Rust
                    rule = type(error) is PluginError
                    self._failure = (str(error), error.__cause__) if rule else (_raised(error), error)
        if self._failure is not None:
            reason, cause = self._failure
            raise offer.broken(reason) from cause
        return self._factories or {}


def _raised(error: BaseException) -> str:
    told = ""
    # These tell what is missing in the code. What others tell may be a secret that the plugin has read.
    if type(error) in (ImportError, ModuleNotFoundError, AttributeError):
        told = str(error).strip().partition("\n")[0]
    return f"it raised {type(error).__name__}{told and f': {told}'}"


def _load(entry_point: EntryPoint, names: set[str]) -> dict[str, Factory]:
    """Import a plugin and let it register, in a manager of its own: nothing stays half registered."""
    factories: dict[str, Factory] = {}

    def register(name: str, factory: Factory) -> None:
        if name not in names:
            msg = f'it registers "{name}" without an entry point of that name in "{GROUP}"'
            raise PluginError(msg)
        if name in factories:
            msg = f'it registers "{name}" twice'
            raise PluginError(msg)
        if not callable(factory):
            msg = f'what it registers as "{name}" cannot be called'
            raise PluginError(msg)
        factories[name] = factory

    hooks_of(entry_point.load()).cruds_register_auth(register=register)
    return factories


def hooks_of(plugin: object) -> pluggy.HookRelay:
    """The hooks with the implementations of one plugin.

    Raises:
        PluginError: One has the wrong name or signature, or is a wrapper.
    """
    manager = pluggy.PluginManager("cruds")
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(plugin)
    except pluggy.PluginValidationError as error:
        msg = f"a hook has the wrong signature: {_fault(plugin, error)}"
        raise PluginError(msg) from error
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        name = next(hook.name for hook in manager.get_hookcallers(plugin) or () if _misspelt(hook))
        alike = difflib.get_close_matches(name, _HOOKS, n=1, cutoff=0)[0]
        msg = f'a hook is misspelt: there is no "{name}"; did you mean "{alike}"?'
        raise PluginError(msg) from error
    for caller in manager.get_hookcallers(plugin) or ():
        if any(impl.wrapper or impl.hookwrapper for impl in caller.get_hookimpls()):
            msg = f"{caller.name} is a wrapper, which no hook of CRUDs may be"
            raise PluginError(msg)
    return manager.hook


def _misspelt(hook: pluggy.HookCaller) -> bool:
    return not hook.has_spec() and not all(impl.optionalhook for impl in hook.get_hookimpls())


def _fault(plugin: object, error: pluggy.PluginValidationError) -> str:
    """What pluggy refused, in one line."""
    for name, spec in _HOOKS.items():
        if impl := getattr(plugin, name, None):
            (given,) = inspect.signature(spec).parameters
            takes = inspect.signature(impl).parameters.values()
            for extra in (one.name for one in takes if one.default is one.empty and one.name != given):
                return f'{name} takes "{extra}", and is only given "{given}"'
    return str(error).rpartition("\n")[2]


def observers_of(caller: pluggy.HookCaller) -> tuple[Callable[..., object], ...]:
    """The implementations of a hook, in the order in which they were registered."""
    # An implementation may leave the argument out, as with every hook of pluggy.
    return tuple(
        impl.function if impl.argnames else _without_argument(impl.function)
        for impl in caller.get_hookimpls()
    )


def _without_argument(function: Callable[..., object]) -> Callable[..., object]:
    def call(_event: object) -> object:
        return function()

    return call
