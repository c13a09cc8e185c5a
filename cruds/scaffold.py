"""``cruds plugins new``: a distribution that offers a scheme, complete and working, to change."""

from __future__ import annotations

import builtins
import keyword
import re
from datetime import UTC, datetime
from importlib.metadata import Distribution
from pathlib import Path
from string import Template

import click

import cruds_core
from cruds_core.plugins import default

# What can be an entry point, a part of a distribution's name and, in other letters, a class.
_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_LONGEST = 30  # characters: lines of what is written stay within its own limit

# Names that what is written uses for something else.
_USED = {*dir(builtins), *cruds_core.__all__, "Any", "AuthContract", "Callable", "Received"}


@click.command()
@click.argument("name")
def new(name: str) -> None:
    """Write a distribution that offers the scheme NAME, into a new folder here.

    NAME is what programs will write: small letters, digits and hyphens between them.
    """
    folder = Path(f"cruds-auth-{name}")
    if fault := _fault(name) or _taken(name):
        raise click.BadParameter(fault, param_hint="NAME")
    try:
        write(name, folder)
    except FileExistsError:
        msg = f"{folder} exists already; remove it, or go to another folder"
        raise click.ClickException(msg) from None
    except OSError as error:
        msg = f"{folder} cannot be written here: {error.strerror}"
        raise click.ClickException(msg) from None
    click.echo(f"{folder}/ offers the scheme {name!r}. To install it for work, and test it:\n")
    click.echo(f"    cd {folder}\n    python -m pip install -e . pytest mypy ruff\n    python -m pytest")
    click.echo("    cruds plugins --check\n")


def _fault(name: str) -> str | None:
    """What keeps a name from being one of a scheme; None if nothing does."""
    if not _NAME.fullmatch(name):
        return f"{name!r} must begin with a letter, and have small letters, digits and single hyphens only"
    if len(name) > _LONGEST:
        return f"{name!r} has {len(name)} characters; {_LONGEST} are the most"
    if keyword.iskeyword(_class_name(name)) or _class_name(name) in _USED:
        return f"{name!r} would make a class {_class_name(name)}, which is something else already"
    return None


def _taken(name: str) -> str | None:
    """Who offers a scheme of this name, or of one that cannot be told from it, here."""
    for report in default().survey():
        if re.sub("[-_.]", "", report.scheme).lower() == name.replace("-", ""):
            return f"{name!r} is taken: {report.distribution} offers the scheme {report.scheme!r} here"
    if any(Distribution.discover(name=f"cruds-auth-{name}")):
        return f"{name!r} is taken: a distribution cruds-auth-{name} is installed here"
    return None


def _class_name(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("-"))


def write(name: str, folder: Path) -> None:
    """Write the distribution.

    Args:
        name: The name of the scheme.
        folder: Where to; it is made.

    Raises:
        FileExistsError: ``folder`` exists; it stays as it is.
        OSError: It cannot be written.
    """
    words = {
        "scheme": name,
        "distribution": f"cruds-auth-{name}",
        "package": f"cruds_auth_{name.replace('-', '_')}",
        "class_name": _class_name(name),
        "year": str(datetime.now(UTC).year),
        "core": ".".join(cruds_core.__version__.split(".")[:2]),
        "next": str(int(cruds_core.__version__.partition(".")[0]) + 1),
    }
    folder.mkdir()
    for path, text in _FILES.items():
        file = folder / Template(path).substitute(words)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(Template(text).substitute(words), encoding="utf-8", newline="\n")


_FILES = {
    "pyproject.toml": """\
[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "$distribution"
version = "0.1.0"
description = "The scheme $scheme for the CRUDs REST client"
readme = "README.md"
requires-python = ">=3.11"
license = "MIT"
license-files = ["LICENSE"]
keywords = ["cruds", "authentication", "$scheme"]
classifiers = ["Programming Language :: Python :: 3 :: Only", "Typing :: Typed"]
# Hooks and AuthABC change only with the first number of cruds-core.
dependencies = ["cruds-core>=$core,<$next"]

# The name of an entry point is the name of a scheme.
[project.entry-points."cruds.auth"]
$scheme = "$package.plugin"

[tool.hatch.build.targets.wheel]
packages = ["src/$package"]

[tool.pytest.ini_options]
testpaths = ["tests"]
addopts = ["--import-mode=importlib"]
filterwarnings = ["error"]

[tool.mypy]
strict = true
files = ["src", "tests"]

[tool.ruff]
line-length = 100

[tool.ruff.lint]
select = ["ANN", "B", "E", "F", "I", "RUF", "UP", "W"]
ignore = ["ANN401"] # options are of any type
""",
    "README.md": """\
# $distribution

The scheme `$scheme` for CRUDs, the REST client.

```python
from cruds_core import Client

auth = {"scheme": "$scheme", "key": "the key"}
Client("api.example.com", auth).read("things")
```

`$package.$class_name` is the class; its key may be a callable that returns it.

## Work on it

```
python -m pip install -e . pytest mypy ruff
python -m pytest
mypy
ruff check
ruff format --check
```

`tests/test_contract.py` holds the scheme to what every scheme of CRUDs has to keep. Begin in
`src/$package/scheme.py`.
""",
    "LICENSE": """\
MIT License

Copyright (c) $year the authors of $distribution

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
""",
    ".gitignore": """\
__pycache__/
.*_cache/
.venv/
dist/
""",
    ".github/workflows/test.yml": """\
name: test
on: [push, pull_request]
permissions:
  contents: read
jobs:
  test:
    runs-on: ubuntu-latest
    strategy:
      matrix:
        python: ["3.11", "3.12", "3.13"]
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: $${{ matrix.python }}
      - run: python -m pip install -e . pytest mypy ruff
      - run: ruff check
      - run: ruff format --check
      - run: mypy
      - run: python -m pytest
""",
    "src/$package/py.typed": "",
    "src/$package/__init__.py": '''\
"""The scheme $scheme for the CRUDs REST client."""

from .scheme import $class_name

__all__ = ["$class_name"]
''',
    "src/$package/plugin.py": '''\
"""What CRUDs imports when a program asks for the scheme by its name."""

from collections.abc import Callable

from cruds_core import AuthABC, hookimpl

from .scheme import $class_name


@hookimpl
def cruds_register_auth(register: Callable[[str, Callable[..., AuthABC]], None]) -> None:
    """Offer the scheme under the name that pyproject.toml declares."""
    register("$scheme", $class_name)
''',
    "src/$package/scheme.py": '''\
"""How requests are authenticated."""

from cruds_core import AuthABC, Request, Secret, SecretSource


class $class_name(AuthABC):
    """Sends a key: ``Authorization: $class_name KEY``.

    Args:
        key: The key, or a callable that returns it, asked at each request.

    Raises:
        TypeError: ``key`` is neither a str nor callable.
        ValueError: ``key`` is empty, or holds a control character.
    """

    def __init__(self, key: SecretSource) -> None:
        if key == "":
            raise ValueError("key is empty")
        # A Secret shows *** wherever it is printed, and is never pickled as plain text.
        self._key = Secret(key, "key")

    def authenticate(self, request: Request) -> None:
        """Send the key. Called for every attempt, with the final URL, headers and content.

        Raises:
            AuthError: The callable did not return a key.
        """
        request.headers["Authorization"] = f"$class_name {self._key.reveal()}"
''',
    "tests/test_contract.py": '''\
"""The scheme keeps what every scheme of CRUDs has to keep."""

from typing import Any

from cruds_core.testing import AuthContract, Received

KEY = "a key of some length"


class Test$class_name(AuthContract):
    """See AuthContract for what else a scheme can declare."""

    scheme = "$scheme"
    secrets = ("key",)
    bad_options = ({"key": ""}, {"key": "a key\\nand more"})

    def options(self, url: str) -> dict[str, Any]:
        """Return what the scheme is built with."""
        return {"key": KEY}

    def verify(self, request: Received) -> None:
        """Assert that a request has the credentials of the scheme."""
        assert request.headers["Authorization"] == f"$class_name {KEY}"
''',
}
