"""The hooks of CRUDs, as pluggy knows them. A plugin marks its implementations with ``hookimpl``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Callable

    from .auth import AuthABC
    from .event import RequestEvent

hookspec = pluggy.HookspecMarker("cruds")
hookimpl = pluggy.HookimplMarker("cruds")


@hookspec
def cruds_register_auth(register: Callable[[str, Callable[..., AuthABC]], None]) -> None:
    """Offer auth schemes. Called once, when the first of them is asked for.

    Args:
        register: ``register(name, factory)`` for each scheme. The name is one that the distribution
            declares as an entry point of the group ``cruds.auth``; ``factory(**options)`` builds the scheme.
    """


@hookspec
def cruds_request_started(event: RequestEvent) -> None:
    """Watch a request that is about to be sent. What is returned or raised changes nothing.

    Args:
        event: Method, origin, path and attempt.
    """


@hookspec
def cruds_request_finished(event: RequestEvent) -> None:
    """Watch an attempt end. What is returned or raised changes nothing.

    Who was told that it started is told, by the same thread; of what starts in between the end comes first.

    Args:
        event: What `cruds_request_started` was told, with status or error, and seconds.
    """
