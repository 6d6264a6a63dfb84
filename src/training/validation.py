"""Checks that a configuration makes sense, before anything starts."""

from ml_collections import ConfigDict

from ..data.augment import COLOR_FORMS, MEAN_FORMS
from ..data.crops import VIEWS
from ..errors import UserError
from ..models.architecture import Architecture
from ..runs.config import flatten
from .optimizer import is_frozen
from .periods import Periods
from .schedule import make_schedule


def validate_config(config: ConfigDict) -> None:
    """Raises UserError for a value that the program would stumble over later."""
    architecture = Architecture.from_config(config.model)
    _check_choices(config)
    _check_numbers(config)
    _check_layers(config, architecture.layer_names)
    periods = Periods.from_config(config, num_examples=config.batch_size)
    make_schedule(config.schedule, periods)
    if config.data.size < architecture.image_size:
        raise UserError(
            f"config.data.size: images of {config.data.size} pixels have no room for crops of "
            f"{architecture.image_size} (config.model.image_size)"
        )


def _check_choices(config: ConfigDict) -> None:
    for field, value, choices in [
        ("dtype", config.dtype, ("float32", "bfloat16")),
        ("reduce_dtype", config.reduce_dtype, ("float32", "bfloat16")),
        ("views", config.views, VIEWS),
        ("augment.color", config.augment.color, COLOR_FORMS),
        ("augment.mean", config.augment.mean, MEAN_FORMS),
    ]:
        if value not in choices:
            raise UserError(f"config.{field}: {value!r} is none of {', '.join(map(str, choices))}")


def _check_numbers(config: ConfigDict) -> None:
    positive = [
        "batch_size",
        "log_every",
        "augment.images_per_crop",
        "optimizer.bias_lr_multiplier",
    ]
    positive += [f"schedule.{field}" for field in ("learning_rate", "factor", "patience")]
    positive += [f"processes.{field}" for field in config.processes]
    not_negative = ["seed", "schedule.max_drops", "optimizer.momentum", "optimizer.weight_decay"]
    not_negative += [f"optimizer.weight_decays.{layer}" for layer in config.optimizer.weight_decays]
    values = flatten(config)
    for field in positive:
        if not values[field] > 0:
            raise UserError(f"config.{field}: {values[field]} is not positive")
    for field in not_negative:
        if not values[field] >= 0:
            raise UserError(f"config.{field}: {values[field]} is negative")
    if config.seed >= 2**32:
        raise UserError(f"config.seed: {config.seed} has more than 32 bits")


def _check_layers(config: ConfigDict, layers: list[str]) -> None:
    names, frozen_layers = ", ".join(layers), config.optimizer.frozen_layers
    for layer in config.optimizer.weight_decays:
        if layer not in layers:
            raise UserError(f"config.optimizer.weight_decays: {layer!r} is none of {names}")
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
