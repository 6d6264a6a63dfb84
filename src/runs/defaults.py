"""Every field of a recipe, with the paper's value. Recipes change it; old runs may lack it."""

import dataclasses

from ml_collections import ConfigDict

from ..models.presets import PAPER


def default_config() -> ConfigDict:
    """The recipe of the paper's text."""
    config = ConfigDict()
    config.seed = 0
    config.dtype = "float32"  # of activations, or "bfloat16"; parameters are float32
    config.batch_size = 128  # images a step, over all devices
    config.duration = "90 epochs"  # or "1000 steps"
    config.evaluate_every = "1 epoch"
    config.checkpoint_every = "1 epoch"
    config.log_every = 20  # steps between two lines of metrics, which are means over these steps
    config.views = 10  # of each image in the final evaluation: 1, 9 or 10

    config.init_from = ""  # run directory whose network to start from: fine-tuning

    config.data = ConfigDict()
    config.data.dataset = "imagenet2012"
    config.data.size = 256  # height and width of the prepared images
    config.data.train_split = ""  # TFDS: another split or a slice of one, "train[:90%]"
    config.data.eval_split = ""  # the first there is of validation, val and test
    config.data.root = "prepared"  # where prepared data sets are kept
    config.data.tfds_dir = ""  # where TFDS keeps its own: by default ~/tensorflow_datasets

    config.augment = ConfigDict()
    config.augment.shift = True  # crop anywhere; else always the center
    config.augment.mirror = True
    config.augment.color = "eigenvalues"  # the paper's formula; or "deviations", or "none"
    config.augment.mean = "aligned"  # the mean image's part under the crop; or its "center"
    config.augment.images_per_crop = 1  # consecutive images with the same crop and mirroring

    config.model = ConfigDict(dataclasses.asdict(PAPER))

    config.optimizer = ConfigDict()
    config.optimizer.momentum = 0.9  # momentum
    config.optimizer.weight_decay = 0.0005
    config.optimizer.weight_decays = ConfigDict()  # of single layers, by name, where it differs
    config.optimizer.decay_biases = True
    config.optimizer.bias_lr_multiplier = 1.0  # the biases' rate, in units of the weights'
    config.optimizer.frozen_layers = ""  # layers that stay as they are, by patterns: "conv*,fc6"

    config.schedule = ConfigDict()
    config.schedule.name = "plateau"  # or "steps", "constant", "cosine"
    config.schedule.learning_rate = 0.01
    config.schedule.factor = 10.0  # plateau, steps: what the rate is divided by
    config.schedule.patience = 3  # plateau: evaluations in a row without a new best
    config.schedule.max_drops = 3  # plateau: how often at most
    config.schedule.boundaries = ()  # steps: when, such as ("30 epochs", "60 epochs")

    config.processes = ConfigDict()
    config.processes.join_within = 300.0  # seconds until all must have come together
    config.processes.lost_after = 60.0  # seconds of silence after which one counts as lost
    config.processes.stuck_after = 600.0  # seconds without a step after which one gives up

    config.mesh = ConfigDict()
    config.mesh.data = "auto"  # devices that share the batch
    config.mesh.model = "auto"  # devices that share the towers: 2 if that works out, else 1
    return config
