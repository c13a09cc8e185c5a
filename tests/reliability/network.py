"""Works over a loopback interface that the kernel makes bad: run in a network namespace of its own.

The first argument is the number of operations, the others are a queueing discipline (tc(8)).
"""

import json
import subprocess
import sys
import time

from servers.relay import loopback_up

from cruds.demo.api import DemoAPI
from cruds_core import Client, RequestTimeoutError

from .soak import faults_of, work

LARGE = 400_000  # bytes
LIMIT = 0.3  # seconds, in which so much cannot pass at 1 Mbit/s


def main(operations: int, discipline: list[str]) -> dict[str, object]:
    """Return what became of the operations, or why there were none."""
    loopback_up()
    subprocess.run(["ip", "link", "set", "lo", "mtu", "1500"], check=True)  # else a packet is 64 KB
    command = ["tc", "qdisc", "add", "dev", "lo", "root", *discipline]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        return {"skip": f"this kernel has no {discipline[0]}: {ran.stderr.strip()}"}
    with DemoAPI() as api:
        with Client(api.url, auth=api.token, timeout=20, total_timeout=120, backoff_factor=0.1) as client:
            record = work(client, operations)
        faults = faults_of(record, api)
        began = time.monotonic()
        late = False
        with Client(api.url, auth=api.token, total_timeout=LIMIT) as client:
            try:
                client.create("items", {"name": "large", "text": "x" * LARGE})
            except RequestTimeoutError:
                late = True
        return {
            "faults": faults,
            "done": sum(record.done.values()),
            "errors": dict(record.errors),
            "late": late,
            "seconds": time.monotonic() - began,
            "dropped": dropped(),
        }


def dropped() -> int:
    """Return how many packets the kernel has thrown away."""
    command = ["tc", "-s", "-json", "qdisc", "show", "dev", "lo"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    return sum(int(each["drops"]) for each in json.loads(ran.stdout))


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), sys.argv[2:])))
