"""Whether a configuration makes sense, before anything is started."""

from fractions import Fraction

from ml_collections import ConfigDict

from ..data.augment import COLOR_FORMS, MEAN_FORMS
from ..data.crops import VIEWS
from ..errors import UserError
from ..models.architecture import Architecture
from .optimizer import is_frozen
from .periods import parse_duration
from .schedule import make_schedule


def validate_config(config: ConfigDict) -> None:
    """Raises UserError for a value that the program would stumble over later."""
    network = Architecture.from_fields(config.model.to_dict())
    for field, value, known in [
        ("dtype", config.dtype, ("float32", "bfloat16")),
        ("views", config.views, VIEWS),
        ("augment.color", config.augment.color, tuple(COLOR_FORMS)),
        ("augment.mean", config.augment.mean, tuple(MEAN_FORMS)),
    ]:
        if value not in known:
            raise UserError(f"config.{field}: {value!r} is none of {', '.join(map(str, known))}")
    for field, value in [
        ("batch_size", config.batch_size),
        ("log_every", config.log_every),
        ("augment.images_per_crop", config.augment.images_per_crop),
        ("schedule.learning_rate", config.schedule.learning_rate),
        ("schedule.factor", config.schedule.factor),
        ("schedule.patience", config.schedule.patience),
        ("optimizer.bias_lr_multiplier", config.optimizer.bias_lr_multiplier),
        *((f"processes.{name}", seconds) for name, seconds in config.processes.items()),
    ]:
        if not value > 0:
            raise UserError(f"config.{field}: {value} is not positive")
    for field, value in [
        ("seed", config.seed),
        ("schedule.max_drops", config.schedule.max_drops),
        ("optimizer.momentum", config.optimizer.momentum),
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
    for pattern in filter(None, config.optimizer.frozen_layers.split(",")):
        if not any(is_frozen(layer, pattern) for layer in layers):
            raise UserError(
                f"config.optimizer.frozen_layers: {pattern!r} is like none of {', '.join(layers)}"
            )
    if all(is_frozen(layer, config.optimizer.frozen_layers) for layer in layers):
        raise UserError(
            f"config.optimizer.frozen_layers: {config.optimizer.frozen_layers!r} leaves nothing to be trained"
        )
    for field in ("duration", "evaluate_every", "checkpoint_every"):
        parse_duration(f"config.{field}", config[field], Fraction(1))
    make_schedule(config, total_steps=1, steps_per_epoch=Fraction(1))
    if config.data.size < config.model.image_size:
        raise UserError(
            f"config.data.size: images of {config.data.size} pixels have no room for crops of "
            f"{config.model.image_size} (config.model.image_size)"
        )
