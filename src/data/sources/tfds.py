"""Data sets of TensorFlow Datasets (TFDS). Import this lazily: it takes a second."""

import difflib
import itertools
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import tensorflow_datasets as tfds
from ml_collections import ConfigDict
from tensorflow_datasets.core.download import downloader
from tensorflow_datasets.core.download.util import DownloadError

from ...errors import CommandError, UserError
from ..pipeline import import_tensorflow
from .source import Example, MissingOriginals, Originals, Source, Split

EVAL_SPLITS = ("validation", "val", "test")
SLICES = "train_split='train[:90%]' and eval_split='train[90%:]'"
downloader.MAX_RETRIES = 2  # the usual 10 take minutes without a network
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # no line for each retry


def tfds_source(section: ConfigDict, trains: bool) -> Source:
    """A TFDS data set by its name; `train_split` and `eval_split` may be slices of splits."""
    builder = _find_builder(section.dataset, section.tfds_dir)
    train_name = section.train_split if trains else "no train"
    identity = f"{builder.info.full_name} {train_name} {section.eval_split}"

    def class_names() -> list[str]:
        return builder.info.features[_find_feature(builder, tfds.features.ClassLabel)].names

    train_part = section.train_split or "train"

    def find_eval_part() -> str | None:
        splits = builder.info.splits  # empty before the download
        part = section.eval_split or next((name for name in EVAL_SPLITS if name in splits), None)
        if splits and part and trains:
            _check_disjoint(builder, train_part, part)
        return part

    def load() -> Originals:
        _download(section.dataset, builder)
        eval_part = find_eval_part()
        if eval_part is None:
            raise UserError(
                f"config.data.eval_split='': {section.dataset} has only "
                f"{' and '.join(builder.info.splits)}; give slices, such as {SLICES}"
            )
        eval_name = re.split(r"\W", eval_part)[0]  # "test[:100]" is a part of "test"
        if trains and eval_name == "train":
            eval_name = "validation"
        return Originals(
            _make_split(builder, "train", "train_split", train_part) if trains else None,
            _make_split(builder, eval_name, "eval_split", eval_part),
        )

    find_eval_part()  # also when the prepared images are there
    return Source(section.dataset, identity, class_names, load)


def _find_builder(name: str, tfds_dir: str) -> Any:
    base = re.split("[/:]", name)[0]
    known = tfds.list_builders(with_community_datasets=False)
    data_dir = os.path.expanduser(tfds_dir) or None
    directory = Path(data_dir or tfds.core.constants.DATA_DIR, base)
    try:
        if base not in known and not directory.exists():  # TFDS would ask the network
            raise ValueError(f"unknown: {base}")
        return tfds.builder(name, data_dir=data_dir)
    except (ValueError, AssertionError):  # TFDS: unknown name, configuration or version
        if base in known:
            known += [f"{base}/{config}" for config in tfds.builder_cls(base).builder_configs]
        close = " or ".join(difflib.get_close_matches(name, known)) or "digits or folder:PATH"
        message = f"config.data.dataset={name!r}: unknown to TFDS; did you mean {close}?"
        raise MissingOriginals(message) from None


def _download(name: str, builder: Any) -> None:
    try:
        builder.download_and_prepare()
    except (downloader.requests.RequestException, URLError, DownloadError) as error:
        request = getattr(error, "request", None)
        manual = Path(builder.data_dir_root, "downloads", "manual")
        raise CommandError(
            f"config.data.dataset={name!r}: cannot download {request.url if request else error}; "
            f"run the command again, or put the file into {manual}; digits and folder:PATH need "
            "no network"
        ) from error
    except AssertionError as error:
        if builder.MANUAL_DOWNLOAD_INSTRUCTIONS is None:
            raise
        # TFDS may not download some archives; its message names them and where to put them.
        reason = " ".join(str(error).split())
        raise UserError(f"config.data.dataset={name!r}: {reason}") from None


def _check_disjoint(builder: Any, train_part: str, eval_part: str) -> None:
    parts = ("train_split", train_part), ("eval_split", eval_part)
    ranges = [
        [(file.filename, file.skip, file.skip + file.take) for file in info.file_instructions]
        for info in (_split_info(builder, *part) for part in parts)
    ]
    shared = sum(
        max(0, min(stop, other_stop) - max(start, other_start))
        for (file, start, stop), (other_file, other_start, other_stop) in itertools.product(*ranges)
        if file == other_file
    )
    if shared:
        raise UserError(
            f"config.data.eval_split={eval_part!r}: {shared} of the images are also in "
            f"train_split={train_part!r}; give slices that do not overlap, such as {SLICES}"
        )


def _split_info(builder: Any, field: str, part: str) -> Any:
    splits = builder.info.splits
    try:
        split = splits[part]
    except (ValueError, NotImplementedError):  # the latter of slices of "all"
        raise UserError(
            f"config.data.{field}={part!r}: not a split of {builder.info.full_name}; "
            f"give {' or '.join(splits)}, or a slice"
        ) from None
    if not split.num_examples:
        raise UserError(f"config.data.{field}={part!r}: has no images; give a larger slice")
    return split


def _make_split(builder: Any, name: str, field: str, part: str) -> Split:
    num_examples = _split_info(builder, field, part).num_examples
    image = _find_feature(builder, tfds.features.Image)
    dtype = np.dtype(builder.info.features[image].np_dtype)
    if np.issubdtype(dtype, np.floating):  # stored as PNG with four channels
        raise UserError(
            f"config.data.dataset={builder.info.full_name!r}: its images are {dtype}, "
            "whose black and white are unknown; give a set of 8 or 16 bits"
        )
    label = _find_feature(builder, tfds.features.ClassLabel)
    texts = _list_features(builder, tfds.features.Text)
    file = next((name for name in texts if "file" in name or name == "id"), None)

    def examples() -> Iterator[Example]:
        decoders = {image: tfds.decode.SkipDecoding()}  # preparation decodes, in many threads
        if builder.info.file_format == tfds.core.FileFormat.ARRAY_RECORD:
            records = builder.as_data_source(part, decoders=decoders)
        else:
            import_tensorflow()
            records = builder.as_dataset(part, decoders=decoders).as_numpy_iterator()
        for i, record in enumerate(records):
            file_name = record[file].decode() if file else f"{part}/{i}"
            yield Example(file_name, int(record[label]), record[image])

    return Split(name, num_examples, examples)


def _list_features(builder: Any, kind: type) -> list[str]:
    features = builder.info.features.items()
    return sorted(name for name, feature in features if isinstance(feature, kind))


def _find_feature(builder: Any, kind: type) -> str:
    """The only feature of a kind, or the only one among the supervised keys."""
    features = _list_features(builder, kind)
    supervised = [name for name in features if name in (builder.info.supervised_keys or ())]
    for candidates in (features, supervised):
        if len(candidates) == 1:
            return candidates[0]
    raise UserError(
        f"config.data.dataset={builder.info.full_name!r}: needs one feature of type "
        f"{kind.__name__}, has {features}; give a set of labeled images"
    )
