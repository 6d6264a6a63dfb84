"""The index and the peers of this process, from the variables that `launch/run.sh` sets."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import EnvironmentMistake

CONTRACT = ("COORDINATOR_ADDRESS", "NUM_PROCESSES", "PROCESS_ID")
JAX_PORT_DISTANCE = 10_000  # of JAX's port from that of COORDINATOR_ADDRESS
ENGINES = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "LOCAL_PROCESSES")


@dataclass(frozen=True)
class ProcessInfo:
    """One process of a run."""

    coordinator: str  # HOST:PORT where process 0 listens; "" if the run has one process
    count: int
    index: int
    jax_port: int = 0  # where JAX listens in process 0; 0 stands for any free port

    def __str__(self) -> str:
        return f"process {self.index} of {self.count}"

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.coordinator.rpartition(":")
        return host.strip("[]"), int(port)


def process_info(environment: Mapping[str, str]) -> ProcessInfo:
    """Reads the variables of CONTRACT, and JAX_PORT; without any, the run has one process.

    Raises:
      EnvironmentMistake: a variable is missing or invalid, or an engine started several processes.
    """
    given = {name: environment[name] for name in CONTRACT if environment.get(name)}
    if not given:
        for name in ENGINES:
            if read_number(environment, name, 1) > 1:
                raise EnvironmentMistake(
                    f"{name}={environment[name]}: this process is one of several and does not "
                    "know the others' address; start it with launch/run.sh"
                )
        return ProcessInfo("", 1, 0)
    if missing := [name for name in CONTRACT if name not in given]:
        values = " ".join(f"{name}={value}" for name, value in given.items())
        raise EnvironmentMistake(
            f"{values}: {' and '.join(missing)} not set; set all three or none"
        )
    coordinator = given["COORDINATOR_ADDRESS"]
    host, _, port = coordinator.rpartition(":")
    if not host or not _is_port(port):
        raise EnvironmentMistake(f"COORDINATOR_ADDRESS={coordinator}: not of the form HOST:PORT")
    above, below = int(port) + JAX_PORT_DISTANCE, int(port) - JAX_PORT_DISTANCE
    jax_port = environment.get("JAX_PORT") or str(above if above < 1 << 16 else below)
    if not _is_port(jax_port):
        raise EnvironmentMistake(f"JAX_PORT={jax_port}: not a port, 1 … 65535")
    count, index = read_number(given, "NUM_PROCESSES", 1), read_number(given, "PROCESS_ID", 0)
    if index >= count:
        raise EnvironmentMistake(
            f"PROCESS_ID={index}: not in 0 … {count - 1} (NUM_PROCESSES={count})"
        )
    return ProcessInfo(coordinator, count, index, int(jax_port))


def read_number(environment: Mapping[str, str], name: str, least: int) -> int:
    """A whole number from a variable; `least` if the variable is missing or empty.

    Raises:
      EnvironmentMistake: it is not a number, or it is lower.
    """
    text = environment.get(name) or str(least)
    if not text.isdecimal() or int(text) < least:
        raise EnvironmentMistake(f"{name}={text}: not a whole number of at least {least}")
    return int(text)


def _is_port(text: str) -> bool:
    return text.isdecimal() and 0 < int(text) < 1 << 16
