"""Runs a command as several processes of this host, which start and end together.

python launch/several.py COUNT COMMAND…

Each process gets its own PROCESS_ID and LOCAL_PROCESS_ID (see launch/run.sh), and SIGTERM after any
signal that asks this launcher to stop. Once one process has failed, it kills the others after
SECONDS_TO_END.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys

EXIT_LOST_PROCESS = 69  # as in src/errors.py: a process stops because another one was lost
SECONDS_TO_END = 60
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
PR_SET_PDEATHSIG = 1  # of Linux's prctl


def environment_of(local_index: int, count: int) -> dict[str, str]:
    """Returns the environment of one of the `count` processes that replace this one."""
    processes, index = int(os.environ["NUM_PROCESSES"]), int(os.environ["PROCESS_ID"])
    return {
        **os.environ,
        "NUM_PROCESSES": str(processes * count),
        "PROCESS_ID": str(index * count + local_index),
        "LOCAL_PROCESS_ID": str(int(os.environ["LOCAL_PROCESS_ID"]) + local_index),
    }


def end_with_parent() -> None:
    """Lets Linux send SIGTERM to this process when its parent dies, even by SIGKILL."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def free_ports() -> tuple[int, int]:
    any_port = ("127.0.0.1", 0)
    with socket.create_server(any_port) as one, socket.create_server(any_port) as other:
        return one.getsockname()[1], other.getsockname()[1]


def main() -> int:
    """Returns the first exit status that is a cause and not a consequence; 0 if all succeed."""
    count, command = int(sys.argv[1]), sys.argv[2:]
    if "NUM_PROCESSES" not in os.environ:
        port, jax_port = free_ports()
        os.environ |= {
            "COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
            "JAX_PORT": str(jax_port),
            "NUM_PROCESSES": "1",
            "PROCESS_ID": "0",
        }
    running: dict[int, subprocess.Popen[bytes]] = {}
    is_stopping = False

    def signal_all(number: int) -> None:
        for pid in running:  # Popen.send_signal would reap processes that main() waits for
            os.kill(pid, number)

    def stop_all(*_: object) -> None:
        nonlocal is_stopping
        is_stopping = True
        signal_all(signal.SIGTERM)

    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
            signal.signal(number, stop_all)
    signal.signal(signal.SIGALRM, lambda *_: signal_all(signal.SIGKILL))
    for local_index in range(count):
        process = subprocess.Popen(
            command,
            env=environment_of(local_index, count),
            process_group=0,  # otherwise Ctrl-C would reach each process twice
            preexec_fn=end_with_parent,
        )
        running[process.pid] = process
    if is_stopping:  # the signal may have come before the last process started
        signal_all(signal.SIGTERM)

    failure = 0
    while running:
        pid, wait_status = os.wait()
        status = os.waitstatus_to_exitcode(wait_status)
        del running[pid]
        status = 128 - status if status < 0 else status
        if status and failure in (0, EXIT_LOST_PROCESS):
            failure = status
        if status:
            signal.alarm(SECONDS_TO_END)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    return failure


if __name__ == "__main__":
    sys.exit(main())
