"""Every field of a recipe, with the value of the paper's text. Recipes change these values."""

import dataclasses
from typing import Any

from ml_collections import ConfigDict

from ..models.presets import PAPER

DEFAULTS: dict[str, Any] = {
    "seed": 0,  # of the initial weights, the order of examples, and everything random
    "dtype": "float32",  # of activations, or "bfloat16"; parameters are float32
    "reduce_dtype": "float32",  # of gradients that devices add up, or "bfloat16" with that dtype
    "cpu_kernels": "blocked",  # faster on CPUs, equal up to rounding; or "plain": as on GPUs
    "batch_size": 128,  # images per step, over all devices
    "accumulate": 1,  # parts of a batch, computed one after the other to save memory
    "class_weights": "",  # of the loss: "balanced", or a number for each class, "1,1,5"
    "label_smoothing": 0.0,  # the share of the target that is divided equally among all classes
    "duration": "90 epochs",  # of training; or "1000 steps"
    "stop_after": 0,  # end after this many evaluations without a new best; 0: never
    "evaluate_every": "1 epoch",  # one view of each image of the evaluation split
    "checkpoint_every": "1 epoch",  # also saved: a new best, and the last step
    "log_every": 20,  # steps per line of metrics; a line has the means over these steps
    "writers": ("tensorboard",),  # of metrics, also to "wandb" (Weights & Biases) or "mlflow"
    "profile": "",  # "20 steps": trace this many, in the run directory
    "views": 10,  # per image in the final evaluation: 1, 9 or 10
    "init_from": "",  # fine-tuning: the run directory whose network to start from
    "init_checkpoint": "newest",  # of that run, or its "best", such as after it has diverged
    "data": {
        "dataset": "imagenet2012",  # "folder:PATH", "digits", "synthetic", or a TFDS name
        "size": 256,  # height and width of the prepared images
        "train_split": "",  # TFDS: another split or a slice, "train[:90%]"
        "eval_split": "",  # by default: a validation split (validation, val, valid), else test
        "root": "prepared",  # directory of prepared datasets
        "tfds_dir": "",  # directory of TFDS; default: ~/tensorflow_datasets
        "cache_gb": 1.0,  # a split that fits in it, decoded, stays in each process's memory
    },
    "augment": {
        "shift": True,  # crop anywhere; else always the center
        "mirror": True,  # half of the images
        "color": "eigenvalues",  # the paper's formula; or "deviations", or "none"
        "mean": "aligned",  # the mean image's part under the crop; or its "center"
        "images_per_crop": 1,  # consecutive images with the same crop and mirroring
    },
    "model": dataclasses.asdict(PAPER),
    "optimizer": {
        "name": "momentum",  # or "lars": steps in proportion to each kernel, for large batches
        "momentum": 0.9,  # the share of the last update that an update contains
        "weight_decay": 0.0005,  # the pull of each weight towards zero, per unit of learning rate
        "weight_decays": {},  # exceptions, by layer name
        "decay_biases": True,  # whether weight decay applies to biases
        "bias_lr_multiplier": 1.0,  # learning rate of biases / learning rate of weights
        "frozen_layers": "",  # patterns of layers that do not train: "conv*,fc6"
    },
    "schedule": {
        "name": "plateau",  # or "steps", "constant", "cosine"
        "learning_rate": 0.01,  # of the first step, or after the warm-up
        "warmup": "",  # "5 epochs": how long the rate grows from near 0
        "factor": 10.0,  # plateau, steps: each drop divides the learning rate by this factor
        "patience": 3,  # plateau: evaluations in a row without a new best before a drop
        "max_drops": 3,  # plateau: number of drops at most
        "boundaries": (),  # steps: times of the drops, such as ("30 epochs", "60 epochs")
    },
    "processes": {
        "join_within": 300.0,  # seconds until all processes must have joined
        "lost_after": 60.0,  # seconds without a heartbeat after which a process counts as lost
        "stuck_after": 600.0,  # seconds without a step after which a process exits
    },
    "mesh": {
        "data": "auto",  # devices that share the batch
        "model": "auto",  # devices that share the towers: 2 where possible, else 1
    },
}


def default_config() -> ConfigDict:
    return ConfigDict(DEFAULTS)
