"""What the contracts say of the children that they fork."""

import os
import resource
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from cruds_core.testing.sharing import KILLED, in_child, in_children


def test_a_child_that_is_killed_has_failed() -> None:
    """A child that a signal ends, as a crash does, is not taken for one that had nothing to say."""
    assert in_child(lambda: None) == ""
    assert in_child(lambda: os.kill(os.getpid(), signal.SIGKILL)) == KILLED


def test_children_of_a_process_with_many_files() -> None:
    """A process that has more than 1024 files open can fork, too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1200:
        pytest.skip(f"a process may have {hard} files here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    try:
        with ExitStack() as files:
            while files.enter_context(Path(os.devnull).open("rb")).fileno() < 1024:
                pass
            assert in_children(2, lambda: None) == ""
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
