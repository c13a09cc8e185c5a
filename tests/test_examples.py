"""The distributions of docs/examples, which are tested as their authors would."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted(Path(__file__).parents[1].glob("docs/examples/*/pyproject.toml"))


@pytest.mark.parametrize("example", [pytest.param(file.parent, id=file.parent.name) for file in EXAMPLES])
def test_an_example_passes_its_own_tests(example: Path) -> None:
    """Each example passes its tests in its own folder, by its own settings; in CI none of them is skipped."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q"], cwd=example, env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "CRUDS_TEST_REQUIRE" not in os.environ or "skipped" not in ran.stdout, ran.stdout
