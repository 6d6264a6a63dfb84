"""MLflow."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from .base import COMPARED, FINAL, Settings, Writer, keep_id


class MLflow(Writer):
    """A run of MLflow; resuming continues it.

    It is on the server that MLFLOW_TRACKING_URI names, by default in a database in `mlflow`.

    Raises:
      UserError: the server refuses the run.
    """

    service = "mlflow"

    def __init__(self, workdir: Path, start: int, settings: Settings):  # noqa: ARG002
        from mlflow.entities import Metric, Param
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient

        # By default a lost server would hold up training for 20 minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        self._metric, self._status = Metric, "KILLED"
        home = workdir.absolute() / "mlflow"
        home.mkdir(exist_ok=True)
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        place = None if uri else (home / "artifacts").as_uri()
        params = [Param(name, str(settings[name])) for name in COMPARED]
        try:
            self._client = client = MlflowClient(uri or f"sqlite:///{home}/mlflow.db")

            def new_run() -> str:
                name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "alexnet")
                found = client.get_experiment_by_name(name)
                experiment = found.experiment_id if found else client.create_experiment(name, place)
                run = client.create_run(experiment, run_name=home.parent.name).info.run_id
                client.log_batch(run, params=params)  # which later values cannot replace
                return run

            self._run = keep_id(home / "id", new_run)
            client.update_run(self._run, status="RUNNING")
            client.log_dict(self._run, settings, "configuration.json")
        except MlflowException as error:
            raise UserError(f"config.writers: mlflow: {error}") from None

    def write(self, step: int, epoch: float, split: str, metrics: dict[str, float]) -> None:
        named = {f"{split}/{name}": value for name, value in metrics.items()}
        self._log(step, {"epoch": epoch, **named})

    def write_images(self, step: int, images: dict[str, np.ndarray]) -> None:
        for name, image in images.items():
            self._client.log_image(self._run, image, key=name, step=step)

    def finish(self, step: int, result: dict[str, Any]) -> None:
        self._log(step, {f"final/{name}": result[name] for name in FINAL})
        self._status = "FINISHED"

    def close(self) -> None:
        self._client.set_terminated(self._run, self._status)

    def _log(self, step: int, metrics: dict[str, float]) -> None:
        now = int(time.time() * 1000)
        values = [self._metric(name, value, now, step) for name, value in metrics.items()]
        self._client.log_batch(self._run, metrics=values)
