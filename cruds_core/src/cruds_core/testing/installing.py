"""Checks of what a distribution offers: a scheme by its name, strict about options, cheap to import."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from typing import TYPE_CHECKING, Any

from ..exceptions import PluginError, UnknownSchemeError
from ..loading import GROUP
from ..selection import normal
from .subject import Subject, client_of

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Seconds of the processor that an import may take, beyond the core: more where that took long itself.
LONGEST = 2.0

#: Imports a module after the core, and prints what that did besides, and what the module itself imported.
_IMPORT = """
import json, logging, sys, threading, time
sys.path[:] = json.loads(sys.argv[2])
import cruds_core.plugins, cruds_core.testing
done, roots, own = [], set(), sys.argv[1].partition(".")[0]
handlers = list(logging.root.handlers)
def root_of(name):
    return name.partition(".")[0]
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        frame = sys._getframe(1)
        while root_of(frame.f_globals.get("__name__", "")) in ("importlib", "_frozen_importlib"):
            frame = frame.f_back
        if root_of(frame.f_globals.get("__name__", "")) == own:
            roots.add(root_of(name))
watched = "socket.connect socket.getaddrinfo subprocess.Popen os.system os.fork os.putenv".split()
def watch(event, arguments):
    if event in watched:
        done.append(f"raises the audit event {event}")
sys.meta_path.insert(0, Finder)
sys.addaudithook(watch)
start = time.process_time()
__import__(sys.argv[1])
longest = max(float(sys.argv[3]), 4 * start)
if time.process_time() - start > longest:
    done.append(f"takes more than {longest:.1f} s of the processor")
if logging.root.handlers != handlers:
    done.append("sets up logging, which is the program's own")
if threading.active_count() > 1:
    done.append("starts a thread")
print("\\n" + json.dumps([sorted(roots - {own}), done]))
"""


class Installing(Subject):
    """The checks."""

    def test_it_is_built_by_its_name(self) -> None:
        """The scheme is installed under its name, and a Client builds it from a mapping with its options."""
        with self._serve() as server:
            try:
                auth: Any = {"scheme": self.scheme, **self.options(server.url)}
                with client_of(server, auth, plugins=self._registry):
                    return
            except UnknownSchemeError as error:
                self._fail(
                    f"it cannot be built by its name: {error}\n"
                    f'Declare {self.scheme or "NAME"} = "package.plugin" in pyproject.toml, under '
                    f'[project.entry-points."{GROUP}"]; register it there, in cruds_register_auth(register); '
                    "and install the distribution, also while you work on it, and when pyproject.toml has "
                    "changed: pip install -e ."
                )
            except PluginError as error:
                cause = error.__cause__ if isinstance(error.__cause__, Exception) else None
                self._fail(f"it cannot be built by its name: {error}", cause)
            except Exception as error:
                self._fail(
                    f"it cannot be built from options(): {type(error).__name__}: {error}\n"
                    "Return from options() what it takes, so that the other checks have something to check.",
                    error,
                )

    def test_options_are_checked_when_it_is_made(self) -> None:
        """An option that is wrong, or unknown, gives an error that names it before any request is sent."""
        with self._serve() as server:
            self._build(server)
            options = self.options(server.url)
            wrong: list[dict[str, Any]] = [{name: object()} for name in options]
            for changed in [*wrong, {"no_such_option": 1}, *self.bad_options]:
                given = ", ".join(changed)
                leaks = self._know(server)
                for name in self.secrets:
                    leaks.know(changed.get(name))
                try:
                    self._registry.create(self.scheme, **{**options, **changed})
                except (TypeError, ValueError) as error:
                    said = str(error)
                except Exception as error:
                    self._fail(
                        f"a wrong {given} raises {type(error).__name__}: make it a TypeError or ValueError."
                    )
                else:
                    self._fail(
                        f"it takes {given}={next(iter(changed.values()))!r} without an error.\n"
                        "Check every option in __init__, so that a mistake is told when the object is made, "
                        "and not by a server; **kwargs that take any name hide those that are misspelt."
                    )
                if leaks.are_in(said):
                    self._fail(
                        f"the error of a wrong {given} shows a secret.\n"
                        "Say what is wrong with it, and not what it is: errors are logged."
                    )
                if not any(re.search(rf"\b{re.escape(name)}\b", said) for name in changed):
                    self._fail(
                        f"the error of a wrong {given} does not name it: {said}\n"
                        "Begin with the name of the option: it may be one of many in a file."
                    )

    def test_importing_it_does_nothing_else(self) -> None:
        """Importing the plugin starts nothing, and imports nothing that its distribution does not require."""
        entry_point = self._offer()
        module = entry_point.module
        result = _import(module, tuple(sys.path))
        if result.returncode:
            self._fail(f"importing {module} fails: {result.stderr[-2000:]}")
        roots, done = json.loads(result.stdout.splitlines()[-1])
        if done:
            self._fail(
                f"importing {module} {done[0]}.\n"
                "Do it when it is needed: a plugin is imported in the middle of somebody's program."
            )
        declared = {"cruds-core", *_required("cruds-core")}
        if entry_point.dist is not None:
            name = normal(entry_point.dist.name)
            declared |= {name, *_required(name)}
        foreign = set(roots) - sys.stdlib_module_names
        # Which reads all that is installed.
        owners: Mapping[str, list[str]] = packages_distributions() if foreign else {}
        for root in sorted(foreign):
            found = {normal(owner) for owner in owners.get(root, [])}
            if found and not found & declared:
                self._fail(
                    f"importing {module} imports {root}, of {sorted(found)[0]}, which it does not require.\n"
                    "Add that to the dependencies in pyproject.toml, or import it where it is needed."
                )

    def _offer(self) -> Any:
        """The entry point of the scheme."""
        with self._serve() as server:
            self._build(server)
        return next(offer.entry_point for offer in self._registry.offers() if offer.scheme == self.scheme)


@cache
def _import(module: str, path: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Import a module in an interpreter of its own, once for all the schemes that it offers."""
    return subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", _IMPORT, module, json.dumps(path), str(LONGEST)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _required(name: str) -> set[str]:
    """All that a distribution requires, and what that requires in turn, extras included."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for requirement in _requirements(waiting.pop()):
            if requirement not in found:
                found.add(requirement)
                waiting.append(requirement)
    return found


@cache
def _requirements(name: str) -> set[str]:
    try:
        texts = requires(name) or []
    except PackageNotFoundError:
        return set()
    return {normal(found[0]) for text in texts if (found := re.match(r"[A-Za-z0-9._-]+", text))}
