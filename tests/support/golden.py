"""What five recipes in miniature compute, so that a change of the code can be held against it.

python -m tests.support.golden writes this machine's numbers to tests/data/golden.json.
"""

import dataclasses
import functools
import json
import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jaxlib
import numpy as np
from ml_collections import ConfigDict

from configs import cifar, small
from src.distributed.devices import avoid_compiler_plugin
from src.distributed.mesh import replicate, to_devices
from src.inference.evaluation import Member, evaluate
from src.inference.forward import Network, make_classify
from src.models.presets import CHM145, PAPER, TORCHVISION
from src.runs.checkpoint import checksum
from src.runs.system_info import describe_system
from src.training.state import create_state
from src.training.step import make_train_step
from tests.support import miniature

FILE = Path(__file__).parents[1] / "data" / "golden.json"
STEPS = 10
RATE = 0.002
MESHES = {"1x1": (1, 1), "2x2": (2, 2)}
VIEWS = (1, 10)


def paper_64() -> ConfigDict:
    fields = small.get_config("none")
    small_network = {"image_size": 64, "input_scale": 1 / 64, "init": "he"}
    fields.model = _fields(miniature.shrunk(PAPER, **small_network))
    return fields


def paper_224() -> ConfigDict:
    fields = miniature.config(image_size=224, init="gaussian", input_scale=1.0)
    fields.data.size = 256
    return fields


def chm145() -> ConfigDict:
    fields = miniature.config()
    fields.model = _fields(miniature.shrunk(CHM145, image_size=67, init="he", input_scale=1 / 64))
    fields.optimizer.decay_biases = False
    fields.augment.mean = "center"
    fields.augment.color = "deviations"
    return fields


def torchvision() -> ConfigDict:
    fields = miniature.config()
    fields.model = _fields(miniature.shrunk(TORCHVISION, image_size=67))
    return fields


def cifar_18pct() -> ConfigDict:
    fields = cifar.get_config("18pct", "none")
    fields.model = _fields(replace(cifar.cifar.PRESETS["18pct"], towers=2))
    fields.model.image_size = 24
    fields.model.init = "he"
    return fields


RECIPES = {
    recipe.__name__: recipe for recipe in (paper_64, paper_224, chm145, torchvision, cifar_18pct)
}


def _fields(architecture: Any) -> ConfigDict:
    return ConfigDict(dataclasses.asdict(architecture))


def here() -> str:
    """What the bits depend on besides the program: the compiler, and what it compiles for."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = set(cpuinfo.read_text().split()) if cpuinfo.exists() else set()
    vectors = next((name for name in ("avx512f", "avx2") if name in flags), platform.machine())
    return f"{describe_system()['processor']}, {vectors}, jaxlib {jaxlib.__version__}"


@functools.cache
def numbers(recipe: str, mesh_name: str) -> dict[str, Any]:
    """Metrics of ten steps, the last parameters' checksum, and what the network makes of images."""
    fields, mesh = RECIPES[recipe](), miniature.mesh(*MESHES[mesh_name])
    fields.batch_size = miniature.BATCH_SIZE
    fields.cpu_kernels = "plain"  # the reference, which other kernels are held against
    classes, size = miniature.NUM_CLASSES, fields.data.size
    statistics = replicate(mesh, miniature.statistics(size))
    state = create_state(fields, classes, mesh)
    step = make_train_step(fields, classes, mesh)
    metrics = []
    for number in range(STEPS):
        batch = to_devices(mesh, miniature.batch(fields, number), fields.batch_size)
        state, values = step(state, batch, statistics, np.float32(RATE))
        metrics.append({name: float(value) for name, value in jax.device_get(values).items()})

    random = np.random.default_rng(7)
    images = random.integers(0, 256, (miniature.BATCH_SIZE, size, size, 3), dtype=np.uint8)
    labels = random.integers(0, classes, miniature.BATCH_SIZE, dtype=np.int32)
    examples = {"image": images, "label": labels, "mask": np.array([1] * 7 + [0], np.float32)}
    found: dict[str, Any] = {"metrics": metrics, "checksum": int(checksum(state.params))}
    for views in VIEWS:
        classify = make_classify(Network.from_config(fields, classes), mesh, views)
        on_devices = to_devices(mesh, examples, fields.batch_size)
        log_p = np.asarray(classify(state.params, on_devices["image"], statistics))
        member = Member(classify, state.params, statistics, lambda: iter([examples]))
        found[f"views {views}"] = {
            "log_probabilities": log_p.tolist(),
            "predictions": log_p.argmax(axis=1).tolist(),
            "errors": evaluate([member], mesh, fields.batch_size),
        }
    return found


def main() -> None:
    avoid_compiler_plugin()
    jax.config.update("jax_num_cpu_devices", 8)
    found = {f"{recipe} {mesh}": numbers(recipe, mesh) for recipe in RECIPES for mesh in MESHES}
    machines = json.loads(FILE.read_text()) | {here(): found}
    text = ",\n".join(f"{json.dumps(name)}: {_lines(values)}" for name, values in machines.items())
    FILE.write_text(f"{{{text}}}\n")


def _lines(values: dict[str, Any]) -> str:
    return "{" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in values.items()) + "}"


if __name__ == "__main__":
    main()
