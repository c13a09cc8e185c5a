"""The examples of docs/examples pass their own tests, in an environment like that of whoever copies one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from servers.process import require

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted(path.parent for path in ROOT.glob("docs/examples/*/pyproject.toml"))

# What uv says where it reaches no package index.
NO_INDEX = ("Failed to fetch", "Network connectivity is disabled", "dns error", "Could not connect")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_example(example: Path, tmp_path: Path) -> None:
    """A copy of the example installs beside our core, with its own test group, and passes its own tests."""
    uv = require(shutil.which("uv"), "uv is missing: pip install uv")
    copy = tmp_path / example.name
    ignored = shutil.ignore_patterns("__pycache__", ".*_cache", ".venv*", "dist")
    shutil.copytree(example, copy, ignore=ignored)
    python = tmp_path / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    run([uv, "venv", "--python", sys.executable, tmp_path / "venv"], copy)
    group = f"{copy / 'pyproject.toml'}:test"
    run([uv, "pip", "install", "--python", python, "--group", group, "-e", copy, ROOT / "cruds_core"], copy)
    run([python, "-m", "pytest", "-q"], copy)


def run(command: list[str | Path], folder: Path) -> None:
    """Runs a command, and fails with what it wrote where it fails; skips where there is no package index."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    result = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    output = result.stdout + result.stderr
    require(not any(words in output for words in NO_INDEX) or result.returncode == 0, "no package index")
    assert result.returncode == 0, output
