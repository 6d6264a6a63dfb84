"""Whether a configuration makes sense, before anything is started."""

from fractions import Fraction

from ml_collections import ConfigDict

from src.data.augment import COLOR_FORMS, MEAN_FORMS
from src.data.crops import VIEWS
from src.errors import UserError
from src.models.architecture import Architecture
from src.training.optimizer import is_frozen
from src.training.periods import parse_duration
from src.training.schedule import make_schedule


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
        parse_duration(f"config.{field}", config[field], Fraction(1))
    make_schedule(config, total_steps=1, steps_per_epoch=Fraction(1))
    if config.data.size < config.model.image_size:
        raise UserError(
            f"config.data.size: images of {config.data.size} pixels have no room for crops of "
            f"{config.model.image_size} (config.model.image_size)"
        )
