"""Data sets of TensorFlow Datasets."""

import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from ...errors import UserError
from .source import Example, Originals, Source, Split

EVALUATIONS = ("validation", "val", "test")


def tfds_source(section: ConfigDict) -> Source:
    """A data set of TFDS by its name; `train_split` and `eval_split` may be slices of splits."""
    import tensorflow_datasets as tfds

    builder = _find_builder(section)
    identity = f"{builder.info.full_name} {section.train_split} {section.eval_split}"

    def class_names() -> list[str]:
        return builder.info.features[_supervised(builder, tfds.features.ClassLabel)].names

    def load() -> Originals:
        _download(section, builder)
        train_part = section.train_split or "train"
        eval_part = section.eval_split or _default_evaluation(section, builder)
        eval_name = re.split(r"\W", eval_part)[0]  # "test[:100]" is a part of "test"
        if eval_name == "train":
            eval_name = "validation"
        return Originals(
            class_names(),
            _make_split(builder, "train", "train_split", train_part),
            _make_split(builder, eval_name, "eval_split", eval_part),
        )

    return Source(section.dataset, identity, class_names, load)


def _find_builder(section: ConfigDict) -> Any:
    import tensorflow_datasets as tfds

    name, tfds_dir = section.dataset, section.tfds_dir
    base = name.partition("/")[0]
    known = tfds.list_builders(with_community_datasets=False)
    folder = Path(tfds_dir or tfds.core.constants.DATA_DIR).expanduser() / base
    try:
        if base not in known and not folder.exists():  # TFDS would ask the network
            raise ValueError(f"unknown: {base}")
        return tfds.builder(name, data_dir=tfds_dir or None)
    except (ValueError, AssertionError):  # name, configuration and version, in TFDS's words
        if base in known:
            known += [f"{base}/{config}" for config in tfds.builder_cls(base).builder_configs]
        close = " or ".join(difflib.get_close_matches(name, known)) or "digits or folder:PATH"
        raise UserError(
            f"config.data.dataset={name!r}: TFDS has no such data set; perhaps {close}"
        ) from None


def _download(section: ConfigDict, builder: Any) -> None:
    try:
        builder.download_and_prepare()
    except AssertionError as error:
        if builder.MANUAL_DOWNLOAD_INSTRUCTIONS is None:
            raise
        # It says which archives the user must put where, since TFDS may not download them.
        reason = " ".join(str(error).split())
        raise UserError(f"config.data.dataset={section.dataset!r}: {reason}") from None


def _default_evaluation(section: ConfigDict, builder: Any) -> str:
    for name in EVALUATIONS:
        if name in builder.info.splits:
            return name
    raise UserError(
        f"config.data.eval_split='': {section.dataset} has only "
        f"{' and '.join(builder.info.splits)}; give a part of it, such as "
        'config.data.train_split="train[:90%]" and config.data.eval_split="train[90%:]"'
    )


def _make_split(builder: Any, name: str, field: str, part: str) -> Split:
    import tensorflow_datasets as tfds

    splits = builder.info.splits
    try:
        num_examples = splits[part].num_examples
    except ValueError:
        raise UserError(
            f"config.data.{field}={part!r}: {builder.info.full_name} has {' and '.join(splits)}; "
            "give one or a slice of one"
        ) from None
    image = _supervised(builder, tfds.features.Image)
    label = _supervised(builder, tfds.features.ClassLabel)
    texts = _features(builder, tfds.features.Text)
    file = next((text for text in texts if "file" in text or text == "id"), None)

    def examples() -> Iterator[Example]:
        for i, example in enumerate(_read(builder, part, image)):
            file_name = example[file].decode() if file else f"{part}/{i}"
            yield Example(file_name, int(example[label]), example[image])

    return Split(name, num_examples, examples)


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
    """The examples, with images as the bytes of their files: our own threads decode them."""
    import tensorflow_datasets as tfds

    as_bytes = {image: tfds.decode.SkipDecoding()}
    if builder.info.file_format == tfds.core.FileFormat.ARRAY_RECORD:
        yield from builder.as_data_source(split, decoders=as_bytes)
    else:
        import tensorflow as tf  # not needed for prepared data, and slow to import

        tf.config.set_visible_devices([], "GPU")  # they are JAX's
        yield from builder.as_dataset(split, decoders=as_bytes).as_numpy_iterator()
