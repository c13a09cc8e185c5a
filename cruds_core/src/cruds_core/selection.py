"""Which plugins may be used: what the variable ``CRUDS_PLUGINS`` says, and how to say otherwise."""

from __future__ import annotations

import re

#: The environment variable that names the plugins that may be used.
VARIABLE = "CRUDS_PLUGINS"


class Selection:
    """The plugins that may be used, by the name of the scheme or of the distribution.

    Args:
        text: Names, separated by commas; with a ``-`` before it, a name that may not be used. None allows
            all, and a text without names none.
        setting: What the text is the value of, for messages.
    """

    def __init__(self, text: str | None, setting: str = VARIABLE) -> None:
        self._text = text
        self._setting = setting
        self._names = [name.strip() for name in (text or "").split(",") if name.strip()]
        self._blocked = {normal(name[1:].strip()) for name in self._names if name.startswith("-")}
        self._only = {normal(name) for name in self._names if not name.startswith("-")}

    def __str__(self) -> str:
        return f"{self._setting}={self._text!r}"

    def allows(self, scheme: str, distribution: str) -> bool:
        """Whether a scheme of a distribution may be used."""
        either = {normal(scheme), normal(distribution)}
        return not either & self._blocked and (not self._closed or bool(either & self._only))

    def allowing(self, scheme: str, distribution: str) -> str:
        """What to do so that a scheme is allowed which is not."""
        either = {normal(scheme), normal(distribution)}
        names = [
            name for name in self._names if not name.startswith("-") or normal(name[1:].strip()) not in either
        ]
        if self._closed and not either & self._only:
            names.append(scheme)
        return f"set {self._setting}={','.join(names)}" if names else f"unset {self._setting}"

    def blocking(self, distribution: str) -> str:
        """What to set so that a distribution is blocked which is allowed."""
        return f"{self._setting}={','.join([*self._names, f'-{distribution}'])}"

    @property
    def _closed(self) -> bool:
        return bool(self._only) or (self._text is not None and not self._names)


def normal(name: str) -> str:
    """A name as the packaging specifications compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()
