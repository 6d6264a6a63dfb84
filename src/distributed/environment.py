"""The index and the peers of this process, from the variables that `launch/run.sh` sets."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import UserError

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
      UserError: a variable is missing or invalid, or an engine started several processes.
    """
    given = {name: environment[name] for name in CONTRACT if environment.get(name)}
    if not given:
        for name in ENGINES:
            if int(environment.get(name) or 1) > 1:
                raise UserError(
                    f"{name}={environment[name]}: this process is one of several and does not "
                    "know the others' address; start it with launch/run.sh"
                )
        return ProcessInfo("", 1, 0)
    if missing := [name for name in CONTRACT if name not in given]:
        values = " ".join(f"{name}={value}" for name, value in given.items())
        raise UserError(f"{values}: {' and '.join(missing)} not set; set all three or none")
    coordinator, count, index = given.values()
    host, _, port = coordinator.rpartition(":")
    if not host or not _is_port(port):
        raise UserError(f"COORDINATOR_ADDRESS={coordinator}: not of the form HOST:PORT")
    above, below = int(port) + JAX_PORT_DISTANCE, int(port) - JAX_PORT_DISTANCE
    jax_port = environment.get("JAX_PORT") or str(above if above < 1 << 16 else below)
    if not _is_port(jax_port):
        raise UserError(f"JAX_PORT={jax_port}: not a port, 1 … 65535")
    if not count.isdecimal() or int(count) < 1:
        raise UserError(f"NUM_PROCESSES={count}: not a positive number")
    if not index.isdecimal() or int(index) >= int(count):
        raise UserError(f"PROCESS_ID={index}: not in 0 … {int(count) - 1} (NUM_PROCESSES={count})")
    return ProcessInfo(coordinator, int(count), int(index), int(jax_port))


def _is_port(text: str) -> bool:
    return text.isdecimal() and 0 < int(text) < 1 << 16
