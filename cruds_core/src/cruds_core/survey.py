"""What a survey of the installed plugins says of each scheme."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """How it is with a scheme."""

    #: Its distribution declares it; whether its plugin can be imported was not tried.
    INSTALLED = "installed"
    #: Its plugin was imported, and registers it.
    OK = "ok"
    #: ``CRUDS_PLUGINS`` does not allow it. Its plugin is never imported.
    BLOCKED = "blocked"
    #: Another distribution offers it as well. Neither is imported.
    IN_CONFLICT = "in conflict"
    #: Its plugin was imported, and that failed or broke a rule.
    BROKEN = "broken"


class SchemeReport(NamedTuple):
    """A scheme that an installed distribution offers.

    Attributes:
        scheme: Its name.
        distribution: The distribution that offers it.
        version: The version of the distribution; None where its metadata has none.
        state: How it is with it.
        problem: What keeps it from being used, with the remedy; None where nothing is known to.
    """

    scheme: str
    distribution: str
    version: str | None
    state: State
    problem: str | None
