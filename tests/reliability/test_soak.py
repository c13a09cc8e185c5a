"""Thousands of operations of many threads over connections that break: nothing is doubled or lost."""

import os
from collections import Counter

import urllib3
from servers.chaos import Break, Chaos

from cruds.demo.api import DemoAPI
from cruds_core import Client

from .soak import faults_of, work

OPERATIONS = int(os.environ.get("CRUDS_TEST_SOAK", "1000"))  # make soak: 10 000
SHARE = 0.1  # of the requests that are broken
PATIENCE = urllib3.Timeout(connect=20, read=1)  # seconds: what a half-open connection takes


def test_soak(api: DemoAPI) -> None:
    """With faults on 10 % of the requests no create or change is doubled, none confirmed is missing."""
    port = int(api.url.rpartition(":")[2])
    with (
        Chaos(port, SHARE) as chaos,
        Client(chaos.url, auth=api.token, timeout=PATIENCE, backoff_factor=0.01, total_timeout=120) as client,
    ):
        record = work(client, OPERATIONS)
    assert faults_of(record, api) == []
    # What was passed on was done: neither a create nor a change is sent again then.
    unsafe = [message for message in chaos.passed if message.method in ("POST", "PATCH")]
    contents = Counter((message.head.split()[1], message.content) for message in unsafe)
    assert [content for content, count in contents.items() if count > 1] == []
    assert sum(record.done.values()) == OPERATIONS // 16 * 16
    assert set(chaos.broken) == set(Break)
    assert record.unsure  # so there were some, and it was told
    errors = sum(record.errors.values())
    assert 0 < errors < len(chaos.broken)  # the others were repeated
