"""Processes that are killed or stopped in the midst of a renewal, clocks that differ, disks that are full."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from servers.fleet import CLONE_NEWNS, MARGIN, Process, Setting, processes
from servers.redis import Redis

from cruds.demo.authorization import AuthorizationServer

NEAR, GONE = 3310.0, 3700.0  # seconds after the sign-in: the token is to be renewed ahead, and has expired
KILL, STOP = int(signal.SIGKILL), int(signal.SIGSTOP)
LEASE = 2.0  # seconds
BUSY = 5.0  # seconds that a busy machine may take for what takes no time
STEPS = ["before the request", "before the save", "after the save"]


@pytest.fixture
def authority() -> Iterator[AuthorizationServer]:
    """A server that revokes the family of a refresh token that is used twice."""
    with AuthorizationServer(rotates=True) as server:
        yield server


@pytest.fixture(params=["file", "redis"])
def setting(request: pytest.FixtureRequest, authority: AuthorizationServer, tmp_path: Path) -> Setting:
    """What all processes have in common: one user, who has signed in."""
    store = str(tmp_path / "tokens")
    if request.param == "redis":
        redis: Redis = request.getfixturevalue("redis")
        redis.ask("FLUSHALL")
        store = redis.url
    key = Fernet.generate_key().decode()
    common = Setting(authority.token_url, authority.client_id, authority.client_secret, key, store, LEASE)
    common.sign_in(authority)
    return common


def die(process: Process, step: str, **more: object) -> None:
    """Have a process killed at a step of its renewal."""
    process.tell("tokens", step=step, signal=KILL, **more)
    process.program.join(20)
    assert process.program.exitcode == -KILL


def freeze(process: Process, step: str, **more: object) -> None:
    """Have a process stopped at a step of its renewal."""
    process.tell("tokens", step=step, signal=STOP, **more)
    status = ["ps", "-o", "stat=", "-p", str(process.pid)]
    while not subprocess.run(status, capture_output=True, text=True, check=True).stdout.startswith("T"):
        time.sleep(0.02)


@pytest.mark.parametrize("step", STEPS)
def test_the_holder_of_the_lock_is_killed(
    authority: AuthorizationServer, setting: Setting, step: str
) -> None:
    """A living token is used; others renew within the lease, once, unless the new token died with it."""
    with processes(3, setting) as (victim, witness, other):
        witness.token()
        other.token()
        die(victim, step, shift=GONE)
        alive = witness.tokens(shift=NEAR)
        assert (len(alive.tokens), alive.errors) == (1, [])
        done = other.tokens(threads=8, shift=GONE)
        assert done.seconds < LEASE + MARGIN + BUSY
        statuses = [request["status"] for request in authority.token_requests]
        if step == "before the save":  # the new refresh token died with its owner
            assert statuses[:2] == [200, 400]
            assert len(done.errors) == 8
            assert all("invalid_grant" in error for error in done.errors)
            assert "lead the user through a sign-in" in other.tokens().errors[0]
            setting.sign_in(authority)
            assert authority.is_active(other.token())
        else:
            assert statuses == [200]
            [new] = set(done.tokens)
            assert authority.is_active(new)
            assert (done.errors, done.warnings, alive.warnings) == ([], [], [])


def test_a_token_lost_in_a_crash_is_replaced(authority: AuthorizationServer, setting: Setting) -> None:
    """Where the server keeps the refresh token, a crash between answer and save costs one more refresh."""
    authority.rotates = False
    with processes(2, setting) as (victim, other):
        die(victim, "before the save", shift=GONE)
        assert authority.is_active(other.token(shift=GONE))
        assert [request["status"] for request in authority.token_requests] == [200, 200]


@pytest.mark.parametrize("setting", ["redis"], indirect=True)
@pytest.mark.parametrize("step", STEPS)
def test_the_holder_of_a_lock_in_redis_is_stopped(
    authority: AuthorizationServer, setting: Setting, step: str
) -> None:
    """Others renew when its lease has ended; once it goes on it asks for nothing, and undoes nothing."""
    with processes(3, setting) as (victim, witness, other):
        token = witness.token()
        freeze(victim, step, shift=GONE)
        alive = witness.tokens(shift=NEAR)
        assert (len(alive.tokens), alive.errors) == (1, [])
        done = other.tokens(threads=8, shift=GONE)
        assert done.seconds < LEASE + MARGIN + BUSY
        os.kill(victim.pid, signal.SIGCONT)
        late = victim.answer()
        statuses = [request["status"] for request in authority.token_requests]
        if step == "before the save":  # what it got is of no more use, and does not come into the store
            assert alive.tokens == [token]
            assert statuses[:2] == [200, 400]
            assert all("invalid_grant" in error for error in done.errors)
            assert "the lease of the lock in Redis has ended" in late["warnings"][0]
            assert late["tokens"][0] not in late["warnings"][0]
            setting.sign_in(authority)
            assert victim.token(shift=2 * GONE) == other.token(shift=2 * GONE)
        else:
            assert statuses == [200]
            assert late["tokens"] == list(set(done.tokens))
            assert (late["errors"], late["warnings"], done.errors) == ([], [], [])


@pytest.mark.parametrize("setting", ["file"], indirect=True)
def test_the_holder_of_a_lock_on_a_file_is_stopped(authority: AuthorizationServer, setting: Setting) -> None:
    """A living token is used; without one an error names the lock, after the lease; nobody asks."""
    with processes(3, setting) as (victim, witness, other):
        token = witness.token()
        freeze(victim, "before the request", shift=GONE)
        alive = witness.tokens(shift=NEAR)
        assert (alive.tokens, alive.errors, alive.warnings) == ([token], [], [])
        assert alive.seconds < LEASE + BUSY
        done = other.tokens(threads=8, shift=GONE)
        assert LEASE < done.seconds < LEASE + MARGIN + BUSY
        assert len(done.errors) == 8
        assert all("OAuthStoreLockedError: another process has held" in error for error in done.errors)
        assert all(setting.store in error for error in done.errors)
        assert authority.token_requests == []
        os.kill(victim.pid, signal.SIGCONT)
        late = victim.answer()
        assert late["tokens"] == [other.token()]
        assert len(authority.token_requests) == 1


@pytest.mark.parametrize("setting", ["file"], indirect=True)
@pytest.mark.parametrize("ahead", [300.0, -300.0])
@pytest.mark.parametrize(("lifetime", "most"), [(3600.0, 1), (60.0, 2)])
def test_clocks_that_differ(
    authority: AuthorizationServer, setting: Setting, ahead: float, lifetime: float, most: int
) -> None:
    """Clocks that are 5 minutes apart cost one 401, or for short lives one refresh more; no token is lost."""
    authority.lifetime = lifetime
    setting.sign_in(authority)
    with processes(2, setting) as pair:
        for number in range(1, 7):
            authority.expire_all()
            before, passed = len(authority.token_requests), number * (lifetime + 10)
            both = list(zip(pair, (ahead, 0.0), strict=True))
            for process, wrong in both if number % 2 else reversed(both):
                token = process.token(shift=passed + wrong)
                if not authority.is_active(token):  # a 401
                    token = process.token(refused=token)
                assert authority.is_active(token)
            asked = authority.token_requests[before:]
            assert {request["status"] for request in asked} == {200}
            assert len(asked) <= most


MOUNT = "mount -t tmpfs -o size=256k,mode=700 tmpfs ."


@pytest.mark.parametrize("setting", ["file"], indirect=True)
@pytest.mark.parametrize(
    ("spoil", "heal", "why"),
    [
        ("dd if=/dev/zero of=fill bs=1k", "rm fill", "No space left on device"),
        ("mount -o remount,bind,ro .", "mount -o remount,bind,rw .", "Read-only file system"),
    ],
    ids=["full", "read-only"],
)
def test_a_disk_that_takes_nothing(
    authority: AuthorizationServer, setting: Setting, tmp_path: Path, spoil: str, heal: str, why: str
) -> None:
    """The living token is used, with a warning; without one an error says why; no refresh token is spent."""
    unshare = ["unshare", "--map-root-user", "--mount", "sh", "-c", MOUNT]
    if subprocess.run(unshare, capture_output=True, cwd=tmp_path, check=False).returncode:
        pytest.skip("no file system can be mounted here: the kernel or a container forbids it")
    disk = tmp_path / "disk"
    disk.mkdir(mode=0o700)
    process = Process(replace(setting, store=str(disk)), CLONE_NEWNS)
    try:
        inside = f"cd '{disk}' && "
        process.ask("run", command=["sh", "-c", inside + MOUNT])
        process.ask("run", command=["sh", "-c", f"{inside} cp -p ../tokens/* ."])
        token = process.token()
        process.ask("run", command=["sh", "-c", inside + spoil])
        alive = process.tokens(shift=NEAR)
        assert (alive.tokens, alive.errors) == ([token], [])
        assert why in alive.warnings[0]
        for fresh in (False, True):
            done = process.tokens(shift=GONE, fresh=fresh)
            assert done.tokens == []
            assert why in done.errors[0]
        assert authority.token_requests == []
        process.ask("run", command=["sh", "-c", inside + heal])
        new = process.token()
        assert authority.is_active(new)
        assert process.token(fresh=True) == new
        assert len(authority.token_requests) == 1
    finally:
        process.end()
