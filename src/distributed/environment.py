"""Which process of how many this is, as `launch/run.sh` has told it in the environment.

COORDINATOR_ADDRESS, HOST:PORT, is where process 0 listens, NUM_PROCESSES how many they are, and
PROCESS_ID which one this is.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import UserError

CONTRACT = ("COORDINATOR_ADDRESS", "NUM_PROCESSES", "PROCESS_ID")
ENGINES = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "LOCAL_PROCESSES")


@dataclass(frozen=True)
class ProcessInfo:
    """What a process was told of itself."""

    coordinator: str  # HOST:PORT, where process 0 listens
    count: int
    index: int

    def __str__(self) -> str:
        return f"process {self.index} of {self.count}"

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.coordinator.rpartition(":")
        return host.strip("[]"), int(port)


def process_info(environment: Mapping[str, str]) -> ProcessInfo:
    """Which process of how many this is; of one, where nothing was told.

    Raises:
      UserError: half of it was told, or it makes no sense, or an engine runs several processes that
        know nothing of one another.
    """
    told = {name: environment[name] for name in CONTRACT if environment.get(name)}
    if not told:
        for name in ENGINES:
            if int(environment.get(name) or 1) > 1:
                raise UserError(
                    f"{name}={environment[name]}: this process is one of several and was not told "
                    "where the others are; start it with launch/run.sh"
                )
        return ProcessInfo("", 1, 0)
    if missing := [name for name in CONTRACT if name not in told]:
        given = " ".join(f"{name}={value}" for name, value in told.items())
        raise UserError(f"{given}: {' and '.join(missing)} not set; give all three or none")
    coordinator, count, index = told.values()
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise UserError(f"COORDINATOR_ADDRESS={coordinator}: not of the form HOST:PORT")
    if not count.isdecimal() or int(count) < 1:
        raise UserError(f"NUM_PROCESSES={count}: not a positive number")
    if not index.isdecimal() or int(index) >= int(count):
        raise UserError(f"PROCESS_ID={index}: not one of 0 … {int(count) - 1} (NUM_PROCESSES)")
    return ProcessInfo(coordinator, int(count), int(index))
