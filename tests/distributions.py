"""Puts small distributions into a folder, as pip leaves them there: modules and their metadata."""

import base64
import hashlib
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, distributions
from pathlib import Path
from typing import Any

from cruds_core import Plugins

# Stands in front of every module, so that what was done with it can be read afterwards, from any process.
HEAD = """\
from cruds_core import AuthABC, hookimpl
def log(word):
    with open(__file__ + ".log", "a", encoding="utf-8") as file:
        file.write(word + "\\n")
log("imported")
"""


def plugin(*schemes: str) -> str:
    """Returns the source of a plugin that works: a bearer token, by each of the names."""
    classes = [
        f"class {name.capitalize()}(AuthABC):\n"
        "    def __init__(self, token, audience=None):\n"
        "        self.token = token\n"
        "    def access_token(self):\n"
        "        return self.token\n"
        "    def is_valid(self):\n"
        "        return True\n"
        for name in schemes
    ]
    register = ["@hookimpl\n", "def cruds_register_auth(register):\n", "    log('registered')\n"]
    return "".join(
        [*classes, *register, *(f"    register('{name}', {name.capitalize()})\n" for name in schemes)]
    )


@dataclass(frozen=True)
class Site:
    """A folder of distributions, like site-packages."""

    folder: Path
    modules: set[str] = field(default_factory=set[str])

    def install(
        self, distribution: str, schemes: Sequence[str] | dict[str, str], source: str | None = None
    ) -> None:
        """Installs a distribution that is one module, named like itself.

        Args:
            distribution: Its name.
            schemes: The names of its entry points; with their values, where these are not the module.
            source: The module; a plugin that registers all the schemes unless given.
        """
        module = distribution.lower().replace("-", "_").replace(".", "_")
        values = schemes if isinstance(schemes, dict) else dict.fromkeys(schemes, module)
        info = f"{module}-1.0.dist-info"
        lines = [f"{name} = {value}\n" for name, value in values.items()]
        files = {
            f"{module}.py": HEAD + (plugin(*values) if source is None else source),
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/INSTALLER": "pip\n",
            f"{info}/entry_points.txt": "".join(["[cruds.auth]\n", *lines]),
        }
        record = [f"{info}/RECORD,,\n"]
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            digest = base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).decode()
            record.append(f"{name},sha256={digest.rstrip('=')},{path.stat().st_size}\n")
        (self.folder / info / "RECORD").write_text("".join(record), encoding="utf-8")
        self.modules.add(module)
        importlib.invalidate_caches()

    def entry_points(self) -> list[EntryPoint]:
        """Returns what the distributions offer, read from their metadata."""
        found = distributions(path=[str(self.folder)])
        return [entry for dist in found for entry in dist.entry_points if entry.group == "cruds.auth"]

    def plugins(self, allowed: str | None = None) -> Plugins:
        """Returns a registry of these distributions and no others."""
        return Plugins(self.entry_points(), allowed)

    def log(self) -> dict[str, list[str]]:
        """Returns what was done with each module that was imported: "imported", "registered"."""
        logs = {path.name.partition(".")[0]: path for path in sorted(self.folder.glob("*.log"))}
        return {module: path.read_text(encoding="utf-8").split() for module, path in logs.items()}

    def run(self, script: str, *options: str, env: Mapping[str, str] | None = None) -> Any:
        """Runs a script in an interpreter of its own that has these distributions in front of all others.

        Returns:
            What the script printed, decoded from JSON.
        """
        path = os.pathsep.join([str(self.folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        result = subprocess.run(
            [sys.executable, *options, "-W", "error", "-c", script],
            env={**os.environ, "PYTHONPATH": path, **(env or {})},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    def forget(self) -> None:
        """Takes the modules out of this process, so that another test can have some of the same names."""
        for module in self.modules:
            sys.modules.pop(module, None)
