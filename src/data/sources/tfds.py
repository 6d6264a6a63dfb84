"""Data sets of TensorFlow Datasets."""

import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from ...errors import UserError
from .source import Example, Originals, Source, Split


def tfds_source(section: ConfigDict) -> Source:
    """A data set of TFDS by its name; `train_split` and `eval_split` may be slices of splits."""
    import tensorflow_datasets as tfds

    name, train_split, eval_split = section.dataset, section.train_split, section.eval_split
    tfds_dir = section.tfds_dir
    field = f"config.data.dataset={name!r}"
    base = name.partition("/")[0]
    known = tfds.list_builders(with_community_datasets=False)
    folder = Path(tfds_dir or tfds.core.constants.DATA_DIR).expanduser() / base
    try:
        if base not in known and not folder.exists():  # TFDS would go and ask the network
            raise ValueError(f"unknown: {base}")
        builder = tfds.builder(name, data_dir=tfds_dir or None)
    except (ValueError, AssertionError):  # name, configuration and version, in TFDS's words
        if base in known:
            known += [f"{base}/{config}" for config in tfds.builder_cls(base).builder_configs]
        close = " or ".join(difflib.get_close_matches(name, known)) or "digits or folder:PATH"
        raise UserError(f"{field}: TFDS has no such data set; perhaps {close}") from None

    def class_names() -> list[str]:
        return builder.info.features[_supervised(builder, tfds.features.ClassLabel)].names

    def load() -> Originals:
        try:
            builder.download_and_prepare()
        except AssertionError as error:
            if builder.MANUAL_DOWNLOAD_INSTRUCTIONS is None:
                raise
            # It says which archives TFDS may not download are to be put where.
            raise UserError(f"{field}: {' '.join(str(error).split())}") from None

        splits = builder.info.splits
        evaluations = [s for s in ("validation", "val", "test") if s in splits]
        if not (evaluations or eval_split):
            raise UserError(
                f"config.data.eval_split='': {name} has only {' and '.join(splits)}; "
                'give a part of it, such as config.data.train_split="train[:90%]" and '
                'config.data.eval_split="train[90%:]"'
            )
        image = _supervised(builder, tfds.features.Image)
        label = _supervised(builder, tfds.features.ClassLabel)
        texts = _features(builder, tfds.features.Text)
        file = next((text for text in texts if "file" in text or text == "id"), None)

        def split(split_name: str, field: str, part: str) -> Split:
            try:
                num_examples = splits[part].num_examples
            except ValueError:
                there = " and ".join(splits)
                raise UserError(
                    f"config.data.{field}={part!r}: {name} has {there}; give one or a slice of one"
                ) from None

            def examples() -> Iterator[Example]:
                for i, example in enumerate(_read(builder, part, image)):
                    named = example[file].decode() if file else f"{part}/{i}"
                    yield Example(named, int(example[label]), example[image])

            return Split(split_name, num_examples, examples)

        train_part, eval_part = train_split or "train", eval_split or evaluations[0]
        eval_name = re.split(r"\W", eval_part)[0]  # "test[:100]" is a part of "test"
        return Originals(
            class_names(),
            split("train", "train_split", train_part),
            split("validation" if eval_name == "train" else eval_name, "eval_split", eval_part),
        )

    identity = f"{builder.info.full_name} {train_split} {eval_split}"
    return Source(name, identity, class_names, load)


def _features(builder: Any, kind: type) -> list[str]:
    features = builder.info.features.items()
    return sorted(name for name, feature in features if isinstance(feature, kind))


def _supervised(builder: Any, kind: type) -> str:
    """The feature of a kind that the data set is meant to be learned with."""
    features = _features(builder, kind)
    if len(features) > 1:
        features = [name for name in features if name in (builder.info.supervised_keys or ())]
    if len(features) != 1:
        raise UserError(
            f"config.data.dataset={builder.info.full_name!r}: which {kind.__name__} to learn with "
            f"is not clear, it has {_features(builder, kind)}; give a set of classified images"
        )
    return features[0]


def _read(builder: Any, split: str, image: str) -> Iterator[dict[str, Any]]:
    """The examples, with images as the bytes of their files: threads of ours will decode them."""
    import tensorflow_datasets as tfds

    as_bytes = {image: tfds.decode.SkipDecoding()}
    if builder.info.file_format == tfds.core.FileFormat.ARRAY_RECORD:
        yield from builder.as_data_source(split, decoders=as_bytes)
    else:
        import tensorflow as tf  # not needed for data that is prepared, and slow to import

        tf.config.set_visible_devices([], "GPU")  # they are JAX's
        yield from builder.as_dataset(split, decoders=as_bytes).as_numpy_iterator()
