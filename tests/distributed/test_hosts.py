"""Two hosts and a link between them that fails: network namespaces of this machine."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from src.errors import LostProcessError
from tests.support.commands import environment
from tests.support.launched import LONG, SOON, command, started, wait_for_steps
from tests.support.runs import assert_same_run

LOST_AFTER = 8
PORT = 29400


class Host:
    """A host with its own name, address and hosts file."""

    def __init__(self, index: int, directory: Path):
        self.namespace = f"alexnet{os.getpid()}-{index}"
        self.interface = f"ax{os.getpid() % 10**6}-{index}"
        self.address = f"10.213.0.{index + 1}"
        self.hosts = directory / f"hosts{index}"
        self.hosts.write_text(f"127.0.0.1 localhost\n{self.address} {self.namespace}\n")

    def run(self, command: list[str]) -> list[str]:
        """Returns the command that runs `command` on this host."""
        become = f"hostname {self.namespace}; mount --bind {self.hosts} /etc/hosts"
        in_namespace = ["ip", "netns", "exec", self.namespace, "unshare", "--uts", "--mount"]
        return [*in_namespace, "bash", "-ec", f'{become}; exec "$@"', "bash", *command]


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=60)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[list[Host]]:
    if os.geteuid() != 0 or not (shutil.which("ip") and shutil.which("unshare")):
        pytest.skip("network namespaces need root, ip and unshare")
    hosts = [Host(index, tmp_path) for index in range(2)]
    with ExitStack() as stack:
        try:
            for host in hosts:
                ip("netns", "add", host.namespace)
                stack.callback(ip, "netns", "delete", host.namespace)
            first, second = hosts
            ip(
                *("link", "add", first.interface, "netns", first.namespace, "type", "veth"),
                *("peer", "name", second.interface, "netns", second.namespace),
            )
        except subprocess.CalledProcessError as refusal:
            pytest.skip(f"this machine allows no network namespaces: {refusal.stderr.decode()}")
        for host in hosts:
            there = ("-netns", host.namespace)
            ip(*there, "address", "add", f"{host.address}/24", "dev", host.interface)
            ip(*there, "link", "set", host.interface, "up")
            ip(*there, "link", "set", "lo", "up")
        yield hosts


@pytest.mark.slow
def test_run_on_two_hosts_stops_when_the_link_fails_and_resumes_afterwards(
    hosts: list[Host], tmp_path: Path, cache: Path, reference_on_two_devices: Path
) -> None:
    workdir = tmp_path / "run"
    logs = [tmp_path / f"log{index}" for index in range(2)]

    def start(stack: ExitStack) -> list[subprocess.Popen[bytes]]:
        more = f"--config.processes.lost_after={LOST_AFTER}"
        return [
            stack.enter_context(
                started(
                    host.run(command(workdir, cache, 1, *LONG, more)),
                    logs[index],
                    **environment(cache),
                    COORDINATOR_ADDRESS=f"{hosts[0].namespace}:{PORT}",
                    NUM_PROCESSES="2",
                    PROCESS_ID=str(index),
                )
            )
            for index, host in enumerate(hosts)
        ]

    def link(state: str) -> None:
        ip("-netns", hosts[0].namespace, "link", "set", hosts[0].interface, state)

    hosts[1].hosts.write_text(
        hosts[1].hosts.read_text() + f"{hosts[0].address} {hosts[0].namespace}\n"
    )
    with ExitStack() as stack:
        running = start(stack)
        wait_for_steps(workdir, 6)
        link("down")
        began = time.monotonic()
        statuses = [process.wait(SOON) for process in running]
        took = time.monotonic() - began
    outputs = [log.read_text() for log in logs]
    assert statuses == [LostProcessError.exit_status] * 2, outputs
    assert took < 3 * LOST_AFTER  # JAX would take more than seven times as long
    for index in range(2):
        how = f"process {1 - index} sent nothing for {LOST_AFTER} s"
        assert f"process {index} of 2 stops because {how}" in outputs[index]
    assert not (workdir / "result.json").exists()

    link("up")
    with ExitStack() as stack:
        assert [process.wait(SOON) for process in start(stack)] == [0, 0], logs[0].read_text()
    assert (workdir / "result.json").exists()
    assert_same_run(workdir, reference_on_two_devices, tolerance=1e-5)
