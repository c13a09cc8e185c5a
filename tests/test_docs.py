"""The examples of the README and the documents run, against the embedded API."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from documents import PAGES, ROOT, Stage, blocks

HOWTO = ROOT / "docs" / "howto"
#: The how-to pages and the tutorial are run by tests/test_howto.py, which looks at what they do.
EXAMPLES = [
    pytest.param(block, id=f"{page.relative_to(ROOT)}-{number}")
    for page in PAGES
    if page.parent != HOWTO and page.name != "tutorial.md"
    for number, block in enumerate(blocks(page), 1)
]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of a pool, while the servers have threads
@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_runs(example: str, stage: Stage) -> None:
    """Every Python example of the documents runs as it stands, with the API's address put in."""
    module = stage.run(example)
    if "def callback(session, url)" in example:
        session: dict[str, str] = {}
        assert module.callback(session, stage.authority.sign_in(module.login(session))) == []
    if "def main()" in example:
        module.main()
        assert stage.said == [f"[{', '.join(['[]'] * 10)}]"]


def test_the_readme_shows_what_its_first_example_prints(stage: Stage) -> None:
    """The text below the first example of the README is what it prints."""
    stage.run(blocks("README.md")[0])
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = page.partition("```text\n")[2].partition("```")[0]
    assert shown.replace("https://api.example.com/v1", stage.api.url).splitlines() == stage.said


def test_the_store_of_the_documents_keeps_the_contract(tmp_path: Path) -> None:
    """The store that docs/stores.md shows passes its own tests, as they stand there."""
    [example] = [param.values[0] for param in EXAMPLES if "(StoreContract)" in str(param.values[0])]
    (tmp_path / "test_store.py").write_text(str(example))
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
        str(tmp_path),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=240)
    assert ran.returncode == 0, ran.stdout
    assert " passed" in ran.stdout


def test_the_tests_that_the_security_page_names_are_there() -> None:
    """Each test in the table of docs/security.md is one that runs."""
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    source = ""
    named = re.findall(r"`(test_\w+\.py)?(?:::)?(test_\w+)?`", page)
    assert len(named) > 100
    for file, name in named:
        source = (ROOT / "tests" / "oauth2" / file).read_text(encoding="utf-8") if file else source
        assert not name or f"def {name}(" in source, f"{file}::{name}"


def test_the_tests_that_the_reliability_page_names_are_there() -> None:
    """Each row with a place for tests in docs/reliability.md names some, and each is one that runs."""
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    count = 0
    for section in re.split(r"^#+ ", page, flags=re.M):
        prose, _, table = section.partition("| test |\n")
        file = next(iter(re.findall(r"`tests/([\w/]+\.py)`", prose)), "")
        for row in re.findall(r"^\| (?!---|\*\*)(.*) \|$", table, re.M):
            named = re.findall(r"`([\w/]+\.py)?::(test_\w+)`", row)
            assert named, row
            count += 1
            for given, name in named:
                file = given or file
                source = (ROOT / "tests" / file).read_text(encoding="utf-8")
                assert f"def {name}(" in source, f"{file}::{name}"
    assert count > 20
