"""Starts several processes on this host in the place of one, and ends as they do.

python launch/several.py COUNT COMMAND…

What the environment says of one process (see launch/run.sh) is divided among them. A signal goes to
all. Once one has failed, the others have some seconds to end by themselves.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys

CONSEQUENCE = 69  # the status of a process that stops because another one was lost
SECONDS_TO_END = 60
ASKING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
PR_SET_PDEATHSIG = 1  # of Linux's prctl


def environment_of(place: int, count: int) -> dict[str, str]:
    processes, first = int(os.environ["NUM_PROCESSES"]), int(os.environ["PROCESS_ID"])
    return {
        **os.environ,
        "NUM_PROCESSES": str(processes * count),
        "PROCESS_ID": str(first * count + place),
        "LOCAL_PROCESS_ID": str(int(os.environ["LOCAL_PROCESS_ID"]) + place),
    }


def end_with_parent() -> None:
    """Has Linux send SIGTERM to the process when its parent dies, be it by SIGKILL."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


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
    running: dict[int, subprocess.Popen[bytes]] = {}
    asked = False

    def signal_all(number: int) -> None:
        for pid in running:  # not by Popen, which would wait for those that have ended
            os.kill(pid, number)

    def ask_all(*_: object) -> None:
        nonlocal asked
        asked = True
        signal_all(signal.SIGTERM)

    for number in ASKING:
        signal.signal(number, ask_all)
    signal.signal(signal.SIGALRM, lambda *_: signal_all(signal.SIGKILL))
    for place in range(count):
        process = subprocess.Popen(
            command,
            env=environment_of(place, count),
            process_group=0,  # else Ctrl-C would reach them twice
            preexec_fn=end_with_parent,
        )
        running[process.pid] = process
    if asked:  # perhaps before the last of them was there
        signal_all(signal.SIGTERM)

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
    for number in ASKING:
        signal.signal(number, signal.SIG_IGN)
    return failure


if __name__ == "__main__":
    sys.exit(main())
