"""One library in a process of its own: told how many calls to make, says what they took."""

import logging
import sys
import threading
import time
from importlib import import_module


def main(name: str, url: str, token_url: str, threads: int, pause: float) -> None:
    logging.basicConfig()  # to stderr, where warnings are counted
    call = getattr(import_module("adapters"), name)(url, token_url)
    for _ in range(20):
        call()

    def work(calls: int) -> None:
        for _ in range(calls):
            call()
            if pause:
                time.sleep(pause)

    print("ready", flush=True)
    for line in sys.stdin:
        workers = [threading.Thread(target=work, args=[int(line)]) for _ in range(threads)]
        cpu, wall = time.process_time(), time.perf_counter()
        for worker in workers[1:]:
            worker.start()
        work(int(line))
        for worker in workers[1:]:
            worker.join()
        print(time.process_time() - cpu, time.perf_counter() - wall, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5]))
