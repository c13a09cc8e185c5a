"""A network that delays, loses and throttles: the kernel's own, between a Client and the demo's API."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from servers.process import program

OPERATIONS = 96
SBIN = os.environ | {"PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"}  # where tc may be
# Disciplines of queues. Not every kernel has netem; tbf throttles, and drops what its queue has no place for.
NETWORKS = {
    "delay and jitter": "netem delay 25ms 20ms",
    "loss": "netem delay 1ms loss 3%",
    "reordered and doubled": "netem delay 10ms reorder 25% 50% duplicate 5%",
    "rate": "netem delay 5ms rate 1mbit",
    "throttled": "tbf rate 1mbit burst 4kb limit 200kb",
    "throttled, with loss": "tbf rate 1mbit burst 4kb limit 6kb",
}


@pytest.mark.parametrize("network", NETWORKS)
def test_bad_network(network: str) -> None:
    """Over a bad network every operation succeeds, once, and total_timeout holds where it is too slow."""
    program("tc", "iproute2")
    namespace = ["unshare", "--map-root-user", "--net"]
    made = subprocess.run([*namespace, "true"], capture_output=True, check=False)
    if made.returncode:  # a kernel's decision, as the next one, not something to install
        pytest.skip("no network namespace can be made here")
    command = [
        *namespace,
        sys.executable,
        "-m",
        "reliability.network",
        str(OPERATIONS),
        *NETWORKS[network].split(),
    ]
    folder = Path(__file__).parents[1]
    ran = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=folder, timeout=300, env=SBIN
    )
    assert ran.returncode == 0, ran.stderr
    result = json.loads(ran.stdout)
    if "skip" in result:
        pytest.skip(result["skip"])
    assert (result["faults"], result["errors"], result["done"]) == ([], {}, OPERATIONS)
    assert result["late"] == ("rate" in NETWORKS[network])
    assert result["seconds"] < 10
    assert result["dropped"] or "loss" not in network
