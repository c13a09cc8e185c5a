"""Loading one plugin: importing its module and letting it register, without leaving anything half done."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import pluggy

from . import hookspecs
from .exceptions import BrokenPluginError, PluginError
from .lock import ForkSafeLock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from importlib.metadata import EntryPoint

    from .auth import AuthABC

    Factory = Callable[..., AuthABC]

#: The entry-point group of auth schemes. The name of an entry point is the name of its scheme.
GROUP = "cruds.auth"


class Module:
    """A plugin's module, loaded at most once, with what it registered or why it failed."""

    def __init__(self) -> None:
        self._lock = ForkSafeLock()  # of its own: a plugin that is slow to import delays no other
        self._loader: int | None = None
        self._factories: dict[str, Factory] | None = None
        self._failure: tuple[str, BaseException | None] | None = None

    def load(self, entry_point: EntryPoint, names: set[str]) -> Mapping[str, Factory]:
        """What the module registers: factories by the names of their schemes.

        Args:
            entry_point: Where the module is.
            names: The schemes that its distribution declares.

        Raises:
            BrokenPluginError: It cannot be imported, or broke a rule when it registered.
        """
        if self._loader == threading.get_ident():
            raise broken(entry_point, "it asks for itself while it is loaded")
        with self._lock:
            if self._factories is None and self._failure is None:
                self._loader = threading.get_ident()
                try:
                    self._factories = _load(entry_point, names)
                except (KeyboardInterrupt, GeneratorExit):
                    raise
                except BaseException as error:  # a plugin may call sys.exit(), or panic in Rust
                    rule = type(error) is PluginError
                    reason = str(error) if rule else f"it raised {type(error).__name__}"
                    self._failure = (reason, error.__cause__ if rule else error)
                finally:
                    self._loader = None
        if self._failure is not None:
            reason, cause = self._failure
            raise broken(entry_point, reason) from cause
        return self._factories or {}


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

    manager = hook_manager()
    register_hooks(manager, entry_point.load())
    manager.hook.cruds_register_auth(register=register)
    return factories


def hook_manager() -> pluggy.PluginManager:
    """A manager that knows our hooks, with no plugin."""
    manager = pluggy.PluginManager("cruds")
    manager.add_hookspecs(hookspecs)
    return manager


def register_hooks(manager: pluggy.PluginManager, plugin: object) -> None:
    """Register hook implementations, or leave none behind.

    Raises:
        PluginError: One has the wrong name or signature, or is a wrapper.
    """
    try:
        manager.register(plugin)
    except pluggy.PluginValidationError as error:
        msg = f"a hook has the wrong signature: {error}"
        raise PluginError(msg) from error
    try:
        manager.check_pending()
        for caller in manager.get_hookcallers(plugin) or ():
            if any(
                impl.plugin is plugin and (impl.wrapper or impl.hookwrapper)
                for impl in caller.get_hookimpls()
            ):
                msg = f"{caller.name} is a wrapper, which no hook of CRUDs may be"
                raise PluginError(msg)
    except pluggy.PluginValidationError as error:
        manager.unregister(plugin)
        msg = f"a hook is misspelt: {error}"
        raise PluginError(msg) from error
    except PluginError:
        manager.unregister(plugin)
        raise


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


def distribution_of(entry_point: EntryPoint) -> str:
    """The name of the distribution that an entry point is from."""
    metadata = entry_point.dist.metadata if entry_point.dist is not None else None
    if metadata is None or "Name" not in metadata:  # a distribution that is half removed has none
        return entry_point.module
    return metadata["Name"]


def broken(entry_point: EntryPoint, reason: str) -> BrokenPluginError:
    """The error that says which plugin is broken, why, and how to be rid of it."""
    name = distribution_of(entry_point)
    return BrokenPluginError(
        f'the plugin "{name}", which offers the scheme "{entry_point.name}", is broken: {reason}; '
        f"remove it with: {sys.executable} -m pip uninstall {name}"
    )
