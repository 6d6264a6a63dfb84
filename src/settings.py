"""Whether a configuration makes sense, before anything is started."""

import math
from fractions import Fraction

from ml_collections import ConfigDict

from src.data.augment import COLOUR_FORMS, MEAN_FORMS
from src.data.crops import VIEWS
from src.errors import UserError
from src.models.architecture import Architecture
from src.optimizer import is_frozen
from src.schedules import in_steps, make_schedule


def check(config: ConfigDict) -> None:
    """Raises UserError for a value that the program would stumble over later."""
    network = Architecture.from_fields(config.model.to_dict())
    for field, value, known in [
        ("dtype", config.dtype, ("float32", "bfloat16")),
        ("views", config.views, VIEWS),
        ("augment.colour", config.augment.colour, tuple(COLOUR_FORMS)),
        ("augment.mean", config.augment.mean, tuple(MEAN_FORMS)),
    ]:
        if value not in known:
            raise UserError(f"config.{field}: {value!r} is none of {', '.join(map(str, known))}")
    for field, value in [
        ("batch_size", config.batch_size),
        ("log_every", config.log_every),
        ("augment.images_per_crop", config.augment.images_per_crop),
        ("schedule.rate", config.schedule.rate),
        ("schedule.divide_by", config.schedule.divide_by),
        ("schedule.patience", config.schedule.patience),
        ("optimizer.bias_rate", config.optimizer.bias_rate),
        *((f"processes.{name}", seconds) for name, seconds in config.processes.items()),
    ]:
        if not value > 0:
            raise UserError(f"config.{field}: {value} is not positive")
    for field, value in [
        ("seed", config.seed),
        ("schedule.drops", config.schedule.drops),
        ("optimizer.decay", config.optimizer.decay),
        ("optimizer.weight_decay", config.optimizer.weight_decay),
        *((f"optimizer.weight_decays.{k}", v) for k, v in config.optimizer.weight_decays.items()),
    ]:
        if not value >= 0:
            raise UserError(f"config.{field}: {value} is negative")
    if config.seed >= 2**32:
        raise UserError(f"config.seed: {config.seed} has more than 32 bits")
    layers = [*network.convs, *network.dense]
    for layer in config.optimizer.weight_decays:
        if layer not in layers:
            raise UserError(
                f"config.optimizer.weight_decays: {layer!r} is none of {', '.join(layers)}"
            )
    for pattern in filter(None, config.optimizer.frozen.split(",")):
        if not any(is_frozen(layer, pattern) for layer in layers):
            raise UserError(
                f"config.optimizer.frozen: {pattern!r} is like none of {', '.join(layers)}"
            )
    if all(is_frozen(layer, config.optimizer.frozen) for layer in layers):
        raise UserError(
            f"config.optimizer.frozen: {config.optimizer.frozen!r} leaves nothing to be trained"
        )
    for field in ("duration", "evaluate_every", "checkpoint_every"):
        in_steps(f"config.{field}", config[field], Fraction(1))
    make_schedule(config, total_steps=1, steps_per_epoch=Fraction(1))
    if config.data.size < config.model.image_size:
        raise UserError(
            f"config.data.size: images of {config.data.size} pixels have no room for crops of "
            f"{config.model.image_size} (config.model.image_size)"
        )


def check_experiment(config: ConfigDict) -> None:
    """As `check`, of a comparison of recipes: see `configs.experiments.comparison`."""
    for name in config.order:
        if name not in list(config.variants):
            raise UserError(f"config.order: {name!r} is none of {', '.join(config.variants)}")
    for seed in config.seeds:
        if not (type(seed) is int and 0 <= seed < 2**32):
            raise UserError(f"config.seeds: {seed!r} is no whole number of at most 32 bits")
    for name, rates in config.rates.items():
        for rate in rates:
            if not (type(rate) in (int, float) and 0 < rate < math.inf):
                raise UserError(f"config.rates.{name}: {rate!r} is no positive number")
    several = {"order": config.order, "seeds": config.seeds}
    several |= {f"rates.{name}": [f"{r:g}" for r in rates] for name, rates in config.rates.items()}
    for field, values in several.items():
        if not values:
            raise UserError(f"config.{field}: it is empty")
        if len(set(values)) < len(values):
            raise UserError(f"config.{field}: {', '.join(map(str, values))} has one twice")
    for name, reference in config.reference.items():
        if reference not in config.variants or reference == name:
            raise UserError(f"config.reference.{name}: {reference!r} is no other variant")
    in_steps("config.search", config.search, Fraction(1))
    if not 0 <= config.until_training_error < 1:
        raise UserError(
            f"config.until_training_error: {config.until_training_error} is no fraction of errors"
        )
    for recipe in config.variants.values():
        check(recipe)
