"""The examples of the README and the documents run, against the embedded API."""

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from cruds.demo.api import DemoAPI

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("cruds_*/README.md"), *ROOT.glob("docs/**/*.md")]
EXAMPLES = [
    pytest.param(block, id=f"{page.relative_to(ROOT)}-{number}")
    for page in sorted(PAGES)
    for number, block in enumerate(re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S), 1)
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_runs(example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every Python example of the documents runs as it stands, with the API's address put in."""
    with DemoAPI(username="ada", password="secret", token="a bearer token") as api:
        code = re.sub(r"api\.example\.com(/v1)?", api.url.removeprefix("http://"), example)
        module = ModuleType("example")
        monkeypatch.setitem(sys.modules, "example", module)  # what it defines can be imported, as by a pickle
        exec(compile(code, "example", "exec"), vars(module))  # noqa: S102 - our own text


def test_local_links_lead_somewhere() -> None:
    """Every relative link of the documents names a file that is there."""
    for page in PAGES:
        for link in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
