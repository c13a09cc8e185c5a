"""What stands in docs/examples is tested as its author would."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted(Path(__file__).parents[1].glob("docs/examples/*/README.md"))


def test_an_example_needs_nothing_private() -> None:
    """What the examples import from the core is what it lists, and may be relied on."""
    root = Path(__file__).parents[1]
    for file in root.glob("docs/examples/*/src/**/*.py"):
        private = re.findall(
            r"^\s*(?:from|import) cruds_core\.(?!testing)\S+", file.read_text(), re.MULTILINE
        )
        assert not private, file


@pytest.mark.parametrize("example", [pytest.param(file.parent, id=file.parent.name) for file in EXAMPLES])
def test_an_example_passes_its_own_tests(example: Path) -> None:
    """Each example passes its tests in its own folder, by its own settings; in CI none of them is skipped."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "."],
        cwd=example,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "CRUDS_TEST_REQUIRE" not in os.environ or "skipped" not in ran.stdout, ran.stdout
