"""Augmentation on the device: subtracts the mean image and adds color noise.

Everywhere in this module, `images` are (N, crop, crop, 3), except in `view`; `mean` is (S, S, 3),
the mean of the images before cropping; `offsets`, integer (N, 2), are the row and the column of the
crops' corners in them; `flips`, bool (N,), are the crops to mirror. Pixels are in units of 0…255.

Every random number is a function of (seed, step, position in the global batch), never of a device.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from .statistics import Array


def _crop(images: Array, offset: Array, flip: Array, crop: int) -> Array:
    """The same part of all images (N, S, S, 3), mirrored if `flip`."""
    part = jax.lax.dynamic_slice(images, (0, *offset, 0), (len(images), crop, crop, 3))
    return jnp.where(flip, part[:, :, ::-1], part)


def _center(mean: Array, _offsets: Array, _flips: Array, crop: int) -> Array:
    start = (mean.shape[0] - crop) // 2
    return mean[None, start : start + crop, start : start + crop]


def _aligned(mean: Array, offsets: Array, flips: Array, crop: int) -> Array:
    return jax.vmap(lambda offset, flip: _crop(mean[None], offset, flip, crop)[0])(offsets, flips)


# The part of the mean image to subtract: as large as the images, or (1, crop, crop, 3) for all.
MEAN_FORMS: dict[str, Callable[[Array, Array, Array, int], Array]] = {
    "aligned": _aligned,  # cropped and mirrored as the image (Caffe)
    "center": _center,  # the center for every crop (the authors' code)
}


def subtract_mean(images: Array, mean: Array, offsets: Array, flips: Array, form: str) -> Array:
    """Subtracts the mean image, in a form of MEAN_FORMS, from crops that are mirrored already."""
    return images.astype(jnp.float32) - MEAN_FORMS[form](mean, offsets, flips, images.shape[1])


def _colors(normals: Array, scales: Array, directions: Array) -> Array:
    return jnp.einsum("nk,k,ck->nc", normals, scales, directions)[:, None, None, :]


# Images x with noise from normal numbers n (N, 3), for standard deviations s (3,) along directions
# v (3, 3): see `Statistics`.
COLOR_FORMS: dict[str, Callable[[Array, Array, Array, Array], Array]] = {
    "none": lambda x, *_: x,
    # The authors' code adds a tenth of the colors' deviations and scales the sum back.
    "deviations": lambda x, n, s, v: (x + _colors(n, 0.1 * s, v)) / 1.1,
    # The paper (section 4.1) takes the eigenvalues, which are of pixels in 0…1.
    "eigenvalues": lambda x, n, s, v: x + 255 * _colors(n, 0.1 * (s / 255) ** 2, v),
}


def color_noise(
    images: Array, keys: Array, deviations: Array, directions: Array, form: str
) -> Array:
    """Adds to each image a random color, in a form of COLOR_FORMS, drawn with its key (N,)."""
    normals = jax.vmap(lambda key: jax.random.normal(key, (3,)))(keys)
    return COLOR_FORMS[form](images, normals, deviations, directions)


def view(images: Array, mean: Array, offset: Array, flip: Array, *, crop: int, form: str) -> Array:
    """One of `evaluation_views` of all images (N, S, S, 3), the mean image subtracted.

    Returns:
      float32 (N, crop, crop, 3).
    """
    crops = _crop(images, offset, flip, crop)
    return subtract_mean(crops, mean, offset[None], flip[None], form)
