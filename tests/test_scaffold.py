"""What ``cruds plugins new`` writes, and the names that it takes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from distributions import Site

from cruds.cli import main
from cruds.scaffold import new


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(here: Path, name: str) -> Path:
    """Writes a distribution, and returns its folder."""
    result = CliRunner().invoke(main, ["plugins", "new", name])
    assert result.exit_code == 0, result.output
    return here / f"cruds-auth-{name}"


def test_it_is_complete(here: Path) -> None:
    """Everything that a distribution needs is written, and no placeholder is left in it."""
    folder = written(here, "two-words")
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    package = "src/cruds_auth_two_words"
    assert files == [
        ".github/workflows/test.yml",
        ".gitignore",
        "LICENSE",
        "README.md",
        "pyproject.toml",
        f"{package}/__init__.py",
        f"{package}/plugin.py",
        f"{package}/py.typed",
        f"{package}/scheme.py",
        "tests/test_contract.py",
    ]
    texts = {path: (folder / path).read_text(encoding="utf-8") for path in files}
    assert [path for path, text in texts.items() if "$" in text] == [".github/workflows/test.yml"]
    assert "python-version: ${{ matrix.python }}" in texts[".github/workflows/test.yml"]
    assert 'two-words = "cruds_auth_two_words.plugin"' in texts["pyproject.toml"]
    assert 'dependencies = ["cruds-core>=2.0,<3"]' in texts["pyproject.toml"]
    assert "class TwoWords(AuthABC)" in texts[f"{package}/scheme.py"]


@pytest.mark.parametrize("name", ["x", "a1", "abcdefghij-klmnopqrs-uvwxyz-12"])
def test_its_style_is_clean(here: Path, name: str) -> None:
    """The shortest name and the longest one give lines that ruff takes as they are."""
    folder = written(here, name)
    for command in (["check"], ["format", "--check"]):
        result = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", "."],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "'' must begin with a letter"),
        ("Tenant", "'Tenant' must begin with a letter, and have small letters"),
        ("two words", "must begin with a letter, and have small letters"),
        ("1st", "must begin with a letter"),
        ("a--b", "single hyphens only"),
        ("a-", "single hyphens only"),
        ("../a", "must begin with a letter"),
        ("tenänt", "must begin with a letter"),
        ("tenant\n", "must begin with a letter"),
        ("abcdefghij-klmnopqrs-uvwxyz-123", "has 31 characters; 30 are the most"),
        ("none", "'none' would make a class None, which is something else already"),
        ("callable", "'callable' would make a class Callable, which is something else already"),
        ("value-error", "'value-error' would make a class ValueError, which is something else already"),
        ("secret", "'secret' would make a class Secret, which is something else already"),
        ("basic", "'basic' is taken: cruds-auth-basic offers the scheme 'basic' here"),
        ("o-auth2", "'o-auth2' is taken: cruds-auth-oauth2 offers the scheme 'oauth2' here"),
    ],
)
def test_a_name_that_cannot_be_is_refused(here: Path, name: str, said: str) -> None:
    """A name that is not valid, or that is taken, is an error that says why, and nothing is written."""
    result = CliRunner().invoke(main, ["plugins", "new", "--", name])
    assert (result.exit_code, list(here.iterdir())) == (2, [])
    assert said in " ".join(result.output.split())


def test_a_name_that_a_distribution_has_is_refused(
    here: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name of a distribution that is installed is taken, whatever schemes it offers."""
    site = Site(tmp_path_factory.mktemp("site"))
    site.install("cruds-auth-mine", ["other"])
    monkeypatch.setattr(sys, "path", [str(site.folder), *sys.path])
    result = CliRunner().invoke(new, ["mine"])
    assert "'mine' is taken: a distribution cruds-auth-mine is installed here" in " ".join(
        result.output.split()
    )
    assert list(here.iterdir()) == []


def test_a_folder_that_cannot_be_written(here: Path) -> None:
    """Where nothing can be written the command says so, without a traceback."""
    here.joinpath("gone").mkdir()
    os.chdir(here / "gone")
    here.joinpath("gone").rmdir()
    result = CliRunner().invoke(main, ["plugins", "new", "tenant"])
    assert result.exit_code == 1
    assert result.output == "Error: cruds-auth-tenant cannot be written here: No such file or directory\n"


def test_nothing_is_overwritten(here: Path) -> None:
    """A folder that is there stays as it is."""
    folder = here / "cruds-auth-tenant"
    folder.mkdir()
    (folder / "README.md").write_text("mine", encoding="utf-8")
    result = CliRunner().invoke(main, ["plugins", "new", "tenant"])
    assert result.exit_code == 1
    assert "cruds-auth-tenant exists already; remove it, or go to another folder" in result.output
    assert [path.read_text(encoding="utf-8") for path in folder.iterdir()] == ["mine"]
