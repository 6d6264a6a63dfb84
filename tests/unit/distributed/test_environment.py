import pytest

from src.distributed.environment import ProcessInfo, process_info
from src.errors import UserError

CONTRACT = {"COORDINATOR_ADDRESS": "host:29400", "NUM_PROCESSES": "4", "PROCESS_ID": "3"}


@pytest.mark.parametrize("environment", [{}, {"SLURM_STEP_NUM_TASKS": "1"}])
def test_without_the_contract_the_run_has_one_process(environment: dict[str, str]) -> None:
    assert process_info(environment).count == 1


def test_contract_gives_coordinator_count_and_index() -> None:
    expected = ProcessInfo("host:29400", count=4, index=3, jax_port=39400)
    assert process_info(CONTRACT) == expected
    assert process_info(CONTRACT | {"COORDINATOR_ADDRESS": "[::1]:80"}).address == ("::1", 80)


@pytest.mark.parametrize(
    ("port", "variables", "jax_port"),
    [(29400, {}, 39400), (60000, {}, 50000), (29400, {"JAX_PORT": "8888"}, 8888)],
)
def test_port_of_jax_is_known_beforehand(
    port: int, variables: dict[str, str], jax_port: int
) -> None:
    environment = {**CONTRACT, "COORDINATOR_ADDRESS": f"host:{port}", **variables}
    assert process_info(environment).jax_port == jax_port


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"PROCESS_ID": "3"}, "PROCESS_ID=3: COORDINATOR_ADDRESS and NUM_PROCESSES not set"),
        (CONTRACT | {"NUM_PROCESSES": ""}, "NUM_PROCESSES not set; set all three or none"),
        (CONTRACT | {"PROCESS_ID": "4"}, "PROCESS_ID=4: not in 0 … 3"),
        (CONTRACT | {"PROCESS_ID": "one"}, "PROCESS_ID=one: not a whole number of at least 0"),
        (CONTRACT | {"NUM_PROCESSES": "0"}, "NUM_PROCESSES=0: not a whole number of at least 1"),
        (CONTRACT | {"COORDINATOR_ADDRESS": "host"}, "not of the form HOST:PORT"),
        (CONTRACT | {"COORDINATOR_ADDRESS": "host:99999"}, "not of the form HOST:PORT"),
        (CONTRACT | {"JAX_PORT": "70000"}, "JAX_PORT=70000: not a port"),
        ({"LOCAL_PROCESSES": "two"}, "LOCAL_PROCESSES=two: not a whole number of at least 1"),
        ({"LOCAL_PROCESSES": "2"}, "one of several .* start it with launch/run.sh"),
        ({"SLURM_STEP_NUM_TASKS": "2"}, "one of several .* start it with launch/run.sh"),
        (
            {"PMI_SIZE": "", "OMPI_COMM_WORLD_SIZE": "2"},
            "one of several .* start it with launch/run.sh",
        ),
    ],
)
def test_incomplete_or_invalid_contract_is_rejected(
    environment: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        process_info(environment)
