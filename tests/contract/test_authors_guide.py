"""The schemes in docs/authors.md keep the contract, as its own tests there declare it."""

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from cruds_core import Plugins
from cruds_core.testing import AuthContract

PAGE = Path(__file__).parents[2] / "docs" / "authors.md"

# What the distribution of each scheme would have in its plugin.py.
REGISTER = """
from cruds_core import hookimpl
@hookimpl
def cruds_register_auth(register):
    register("when-asked", WhenAsked)
    register("sealed", Sealed)
    register("vault", Vault)
"""

CHECKS = [name for name in dir(AuthContract) if name.startswith("test_")]


@pytest.fixture(scope="module")
def guide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, type[AuthContract]]]:
    """The tests of the page, which find the schemes of the page by their names."""
    folder = tmp_path_factory.mktemp("guide")
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    blocks = [re.sub("^Client.*", "", block, flags=re.MULTILINE) for block in blocks]
    (folder / "authors_guide.py").write_text("\n".join([*blocks, REGISTER]), encoding="utf-8")
    sys.path.insert(0, str(folder))
    module = importlib.import_module("authors_guide")
    names = ("when-asked", "sealed", "vault")
    plugins = Plugins([EntryPoint(name, "authors_guide", "cruds.auth") for name in names])
    tests: dict[str, type[AuthContract]] = {}
    for name in names:
        tests[name] = getattr(module, "Test" + "".join(part.capitalize() for part in name.split("-")))
        tests[name].plugins = plugins
    yield tests
    sys.path.remove(str(folder))
    del sys.modules["authors_guide"]


@pytest.mark.parametrize("scheme", ["when-asked", "sealed", "vault"])
@pytest.mark.parametrize("check", CHECKS)
def test_a_scheme_of_the_page(guide: dict[str, type[AuthContract]], scheme: str, check: str) -> None:
    """Each scheme of the page passes each check that is made of it."""
    test: Callable[[], None] | None = getattr(guide[scheme](), check)
    if test is not None:
        test()
