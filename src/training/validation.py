"""Checks that a configuration makes sense, before anything starts."""

from ml_collections import ConfigDict

from ..data.augment import COLOR_FORMS, MEAN_FORMS
from ..data.crops import VIEWS
from ..errors import UserError, check_choice, check_range
from ..models.architecture import HUGE, TINY, Architecture
from ..models.kernels import CPU_KERNELS
from ..runs.config import flatten
from ..writers import check_writers
from .loss import parse_class_weights
from .optimizer import OPTIMIZERS, is_frozen
from .periods import Periods
from .schedule import make_schedule

RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**32 - 1),
    "batch_size": (1, 2**20),
    "accumulate": (1, 2**20),
    "label_smoothing": (0, 0.999999),
    "stop_after": (0, 2**31),
    "log_every": (1, 2**31),
    "data.size": (1, 65500),  # JPEG's largest
    "data.cache_gb": (0, HUGE),
    "augment.images_per_crop": (1, 2**31),
    "optimizer.momentum": (0, 0.999999),
    "optimizer.weight_decay": (0, HUGE),
    "optimizer.bias_lr_multiplier": (TINY, HUGE),
    "schedule.learning_rate": (TINY, HUGE),
    "schedule.factor": (1.000001, HUGE),
    "schedule.patience": (1, HUGE),
    "schedule.max_drops": (0, HUGE),
}


def validate_config(config: ConfigDict) -> None:
    """Raises UserError for a value that the program would stumble over later."""
    architecture = Architecture.from_config(config.model)
    _check_choices(config)
    _check_numbers(config)
    _check_layers(config, architecture.layer_names)
    parse_class_weights(config.class_weights)
    check_writers(config)
    periods = Periods.from_config(config, num_examples=config.batch_size)
    make_schedule(config.schedule, periods)
    if config.data.size < architecture.image_size:
        raise UserError(
            f"config.data.size: images of {config.data.size} pixels have no room for crops of "
            f"{architecture.image_size} (config.model.image_size)"
        )


def _check_choices(config: ConfigDict) -> None:
    for field, value in flatten(config).items():
        if isinstance(value, str) and "://" in value:
            raise UserError(f"config.{field}: {value!r} is a URL; give a local directory")
    for field, value, choices in [
        ("dtype", config.dtype, ("float32", "bfloat16")),
        ("reduce_dtype", config.reduce_dtype, ("float32", "bfloat16")),
        ("cpu_kernels", config.cpu_kernels, tuple(CPU_KERNELS)),
        ("views", config.views, VIEWS),
        ("init_checkpoint", config.init_checkpoint, ("newest", "best")),
        ("augment.color", config.augment.color, COLOR_FORMS),
        ("augment.mean", config.augment.mean, MEAN_FORMS),
        ("optimizer.name", config.optimizer.name, OPTIMIZERS),
    ]:
        check_choice(f"config.{field}", value, choices)


def _check_numbers(config: ConfigDict) -> None:
    ranges = dict(RANGES)
    ranges |= {f"processes.{field}": (TINY, 1e9) for field in config.processes}
    ranges |= {
        f"optimizer.weight_decays.{layer}": RANGES["optimizer.weight_decay"]
        for layer in config.optimizer.weight_decays
    }
    values = flatten(config)
    for field, (low, high) in ranges.items():
        check_range(f"config.{field}", values[field], low, high)


def _check_layers(config: ConfigDict, layers: list[str]) -> None:
    names, frozen_layers = ", ".join(layers), config.optimizer.frozen_layers
    for layer in config.optimizer.weight_decays:
        check_choice("config.optimizer.weight_decays", layer, layers)
    for pattern in filter(None, frozen_layers.split(",")):
        if not any(is_frozen(layer, pattern) for layer in layers):
            raise UserError(
                f"config.optimizer.frozen_layers: pattern {pattern!r} matches no layer (layers: "
                f"{names})"
            )
    if all(is_frozen(layer, frozen_layers) for layer in layers):
        raise UserError(
            f"config.optimizer.frozen_layers: {frozen_layers!r} leaves no layer to train"
        )
