"""The site: links lead somewhere, the reference has every name, the pictures are those of their sources."""

import importlib
import importlib.util
import re
import shutil
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from documents import PAGES, ROOT
from servers.process import require
from test_docstrings import FURTHER, named

DOCS = ROOT / "docs"
PICTURES = sorted((DOCS / "pictures").glob("*.dot"))
FENCED = re.compile(r"^(`{3,}|~{3,})(.*?)\n(.*?)^\1", re.MULTILINE | re.DOTALL)

#: Code that tests/test_docs.py does not run, by page and language, and what holds it to the truth instead.
NOT_RUN = {
    ("README.md", "console"): ".ci/run runs both commands",
    ("README.md", "text"): "tests/test_docs.py, to the letter",
    ("docs/authors.md", "console"): "tests/test_packaging.py runs them",
    ("docs/howto/from-httpx.md", "py"): "nothing: httpx is not installed here",
    ("docs/howto/from-requests.md", "py"): "tests/test_howto.py runs it with requests",
    ("docs/migrating.md", "py"): "tests/peer/test_migrating.py; it is for CRUDs 1.x",
    ("docs/plugins.md", "console"): "tests/test_plugins_page.py, to the letter",
    ("docs/plugins.md", "text"): "tests/test_plugins_page.py, to the letter",
    ("docs/stores.md", "text"): "nothing: Spark is not run, as the page says",
    ("docs/tutorial.md", "console"): "nothing: tests/test_packaging.py has other ways to install",
    ("docs/tutorial.md", "text"): "tests/test_howto.py, but for the port",
}


def path_of(page: Path) -> str:
    """Returns the path of a page below the root."""
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """Returns a page without its code."""
    return re.sub(r"`[^`\n]+`", "`code`", FENCED.sub("", page.read_text(encoding="utf-8")))


def anchors(page: Path) -> set[str]:
    """Returns what a link to a heading of the page can end in, as GitHub makes it of the heading's text."""
    headings = re.findall(r"^#+ (.*)", FENCED.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    texts = [re.sub(r"\[([^\]]*)\]\([^)]*\)|`", r"\1", heading) for heading in headings]
    slugs = [re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-") for text in texts]
    return {slug if (n := slugs[:at].count(slug)) == 0 else f"{slug}-{n}" for at, slug in enumerate(slugs)}


def imported(path: str) -> Any:
    """Returns what a dotted path names: modules as far as there are some, then attributes."""
    module, attributes = path, ""
    while True:
        try:
            found: ModuleType = importlib.import_module(module)
        except ModuleNotFoundError:
            module, _, name = module.rpartition(".")
            attributes = f"{name}.{attributes}".strip(".")
        else:
            return attrgetter(attributes)(found) if attributes else found


def in_reference() -> dict[str, Any]:
    """Returns what the pages of the reference describe, by its path there."""
    text = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md"))
    described = re.findall(r"^\.\. (?:auto|py:)(?!currentmodule)\w+:: ([\w.]+)", text, re.MULTILINE)
    return {path: imported(path) for path in described}


@pytest.mark.parametrize("page", [pytest.param(page, id=path_of(page)) for page in PAGES])
def test_a_link_leads_somewhere(page: Path) -> None:
    """Each link that does not leave the repository names a file that is there, and a heading in it."""
    links = re.findall(r"\]\(<?([^)>\s]+)", prose(page)) + re.findall(r'(?:src|href)="([^"]+)"', prose(page))
    for link in links:
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not re.match("https?://|mailto:", link):
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def test_the_reference_has_every_public_name() -> None:
    """Whatever can be imported from the packages is in the reference, as the very same object."""
    described = in_reference()
    names = {path.rpartition(".")[2]: value for path, value in described.items()}
    modules = (DOCS / "reference" / "index.md").read_text(encoding="utf-8")
    for path, value in named():
        if isinstance(value, ModuleType):
            assert f"| `{path}` |" in modules
        else:
            assert names.get(path.rpartition(".")[2]) == value, path
    assert set(FURTHER) <= set(described)


@pytest.mark.parametrize("inventory", ["python", "urllib3"])
def test_what_an_inventory_lists_is_there(inventory: str) -> None:
    """What the reference can link to elsewhere is something that there is."""
    lines = (DOCS / "inventories" / f"{inventory}.txt").read_text(encoding="utf-8").splitlines()[3:]
    assert lines == sorted(lines)
    for line in lines:
        name, _, page = line.split(" ")
        assert imported(name if "." in name else f"builtins.{name}") is not None
        assert page.endswith(".html")


@pytest.mark.parametrize("source", [pytest.param(source, id=source.stem) for source in PICTURES])
def test_a_picture_is_that_of_its_source(source: Path) -> None:
    """A picture says which state of its source it was drawn from, and that is the one which is there."""
    picture = source.with_suffix(".svg").read_text(encoding="utf-8")
    assert drawing().mark(source) in picture
    require(shutil.which("dot"), "dot is missing: apt-get install graphviz")
    # Where what stands depends on the version of Graphviz and the fonts of the machine.
    words, anew = (re.findall(r"<text[^>]*>(.*?)</text>", one) for one in (picture, drawing().draw(source)))
    assert words == anew != []


@pytest.mark.parametrize("source", [pytest.param(source, id=source.stem) for source in PICTURES])
def test_a_picture_can_be_read_on_a_telephone(source: Path) -> None:
    """A picture is so narrow that its text can be read on a screen of 390 pixels."""
    picture = source.with_suffix(".svg").read_text(encoding="utf-8")
    (width,) = re.findall(r'viewBox="0 0 ([\d.]+) ', picture)
    smallest = min(float(size) for size in re.findall(r'font-size="([\d.]+)"', picture))
    assert smallest * (390 - 2 * 16) / float(width) > 10  # pixels
    assert "prefers-color-scheme: dark" in picture


def drawing() -> Any:
    """Returns the module that draws the pictures."""
    spec = importlib.util.spec_from_file_location("draw", DOCS / "pictures" / "draw.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_not_run_is_listed() -> None:
    """All code of the documents is run, but for what is listed with what else holds it to the truth."""
    found = {
        (path_of(page), language)
        for page in PAGES
        for _, language, _ in FENCED.findall(page.read_text(encoding="utf-8"))
        if language != "python" and not language.startswith("{")
    }
    assert found == set(NOT_RUN)
    for reason in NOT_RUN.values():
        assert all((ROOT / path).exists() for path in re.findall(r"\.?\w+/[\w/.]+\w", reason))


def test_the_paths_of_the_house_are_there() -> None:
    """CONTRIBUTING.md names files and folders that there are."""
    spans = re.findall(r"`([\w./*-]+)`", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    paths = [span for span in spans if "/" in span or span.endswith((".md", ".toml", ".py"))]
    paths.remove("build/docs")  # which `make docs` makes
    assert len(paths) > 20
    assert [path for path in paths if not list(ROOT.glob(path.rstrip("/")))] == []
