"""Starts several processes on this host in the place of one, and ends as they do.

python launch/several.py COUNT COMMAND…

What the environment says of one process (see launch/run.sh) is divided among them. A signal goes to
all. Once one has failed, the others have some seconds to end by themselves.
"""

import os
import signal
import socket
import subprocess
import sys

CONSEQUENCE = 69  # the status of a process that stops because another one was lost
SECONDS_TO_END = 60


def environment_of(place: int, count: int) -> dict[str, str]:
    processes, first = int(os.environ["NUM_PROCESSES"]), int(os.environ["PROCESS_ID"])
    return {
        **os.environ,
        "NUM_PROCESSES": str(processes * count),
        "PROCESS_ID": str(first * count + place),
        "LOCAL_PROCESS_ID": str(int(os.environ["LOCAL_PROCESS_ID"]) + place),
    }


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def main() -> int:
    count, command = int(sys.argv[1]), sys.argv[2:]
    if "NUM_PROCESSES" not in os.environ:
        os.environ |= {
            "COORDINATOR_ADDRESS": f"127.0.0.1:{free_port()}",
            "NUM_PROCESSES": "1",
            "PROCESS_ID": "0",
        }
    running = {}

    def signal_all(number: int) -> None:
        for process in running.values():
            process.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, lambda *_: signal_all(signal.SIGTERM))
    signal.signal(signal.SIGALRM, lambda *_: signal_all(signal.SIGKILL))
    for place in range(count):
        # In groups of their own, since Ctrl-C would otherwise reach them twice.
        process = subprocess.Popen(command, env=environment_of(place, count), process_group=0)
        running[process.pid] = process

    failure = 0
    while running:
        pid, waited = os.wait()
        status = os.waitstatus_to_exitcode(waited)
        del running[pid]
        status = 128 - status if status < 0 else status
        if status and failure in (0, CONSEQUENCE):
            failure = status
        if status:
            signal.alarm(SECONDS_TO_END)
    return failure


if __name__ == "__main__":
    sys.exit(main())
