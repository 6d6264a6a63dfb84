"""What the engines are told about this project says what the code does."""

from typing import Any

import kubernetes_validate
import pytest
import yaml

from src import main
from src.distributed.environment import process_info
from src.errors import EXIT_PREEMPTED, LostProcessError, UserError
from src.training.validation import validate_config
from tests.support.commands import ROOT

LAUNCH = ROOT / "launch"


@pytest.fixture
def manifests() -> dict[str, dict[str, Any]]:
    documents = yaml.safe_load_all((LAUNCH / "kubernetes.yaml").read_text())
    return {document["kind"]: document for document in documents}


@pytest.mark.parametrize("version", ["1.31", kubernetes_validate.latest_version()])
@pytest.mark.parametrize("kind", ["Service", "Job"])
def test_kubernetes_knows_every_field(
    kind: str, version: str, manifests: dict[str, dict[str, Any]]
) -> None:
    kubernetes_validate.validate(manifests[kind], version, strict=True)
    manifests[kind]["spec"]["completion"] = 2
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifests[kind], version, strict=True)


def test_the_pods_find_one_another(manifests: dict[str, dict[str, Any]]) -> None:
    service, job = manifests["Service"], manifests["Job"]
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    told = {variable["name"]: variable["value"] for variable in container["env"]}
    assert job["spec"]["completionMode"] == "Indexed"
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == int(told["NUM_PROCESSES"])

    name = job["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["selector"] == {"job-name": name}
    assert pod["subdomain"] == service["metadata"]["name"]
    ports = [port["port"] for port in service["spec"]["ports"]]
    process = process_info({**told, "PROCESS_ID": "0"})
    assert process.address == (f"{name}-0.{service['metadata']['name']}", ports[0])
    assert process.jax_port == ports[1]


def test_pods_are_started_again_when_they_ask_for_it(manifests: dict[str, dict[str, Any]]) -> None:
    spec = manifests["Job"]["spec"]
    assert spec["template"]["spec"]["restartPolicy"] == "Never"  # else there can be no policy
    actions = {
        status: rule["action"]
        for rule in spec["podFailurePolicy"]["rules"]
        for status in rule.get("onExitCodes", {}).get("values", [])
    }
    again = [EXIT_PREEMPTED, LostProcessError.exit_status]
    assert actions == {**dict.fromkeys(again, "Ignore"), UserError.exit_status: "FailJob"}


def test_the_pods_arguments_are_the_commands(manifests: dict[str, dict[str, Any]]) -> None:
    arguments = manifests["Job"]["spec"]["template"]["spec"]["containers"][0]["args"]
    main.FLAGS.parse(arguments)
    validate_config(main.CONFIG.value)
    with pytest.raises(UserError, match="no field 'rood'"):
        main.FLAGS.parse([*arguments, "--config.data.rood=/"])
