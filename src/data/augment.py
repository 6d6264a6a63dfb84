"""Augmentation on the device: subtracts the mean image and adds color noise.

Every random number is a function of (seed, step, position in the global batch), never of a device.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from .statistics import Array


def _crop(image: Array, offset: Array, flip: Array, crop: int) -> Array:
    """The (crop, crop, 3) part of an image (S, S, 3) at an offset (2,), mirrored if `flip`."""
    part = jax.lax.dynamic_slice(image, (*offset, 0), (crop, crop, 3))
    return jnp.where(flip, part[:, ::-1], part)


def _center(mean: Array, _offsets: Array, _flips: Array, crop: int) -> Array:
    start = (mean.shape[0] - crop) // 2
    return mean[None, start : start + crop, start : start + crop]


# The part of a mean image (S, S, 3) to subtract from crops at offsets (N, 2), mirrored by flips
# (N,): (N, crop, crop, 3), or (1, crop, crop, 3) for all of them.
MEAN_FORMS: dict[str, Callable[[Array, Array, Array, int], Array]] = {
    "aligned": jax.vmap(_crop, (None, 0, 0, None)),  # cropped and mirrored as the image (Caffe)
    "center": _center,  # the center for every crop (the authors' code)
}


def subtract_mean(images: Array, mean: Array, offsets: Array, flips: Array, form: str) -> Array:
    """Subtracts the mean image from crops that are mirrored already.

    Args:
      images: (N, crop, crop, 3), 0…255.
      mean: (S, S, 3), 0…255.
      offsets: integer (N, 2), row and column of the crops' corners in the larger images.
      flips: bool (N,).
      form: a key of MEAN_FORMS.

    Returns:
      float32 (N, crop, crop, 3).
    """
    return images.astype(jnp.float32) - MEAN_FORMS[form](mean, offsets, flips, images.shape[1])


def _colors(normals: Array, scales: Array, directions: Array) -> Array:
    return jnp.einsum("nk,k,ck->nc", normals, scales, directions)[:, None, None, :]


# Images x (N, h, w, 3) in units of 0…255 with noise from normal numbers n (N, 3), for standard
# deviations s (3,) along directions v (3, 3).
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
    """Adds a random color to each image, the same at all of its pixels.

    Args:
      images: float (N, h, w, 3), in units of 0…255.
      keys: typed JAX keys (N,), one per image.
      deviations: (3,), see `Statistics`.
      directions: (3, 3), see `Statistics`.
      form: a key of COLOR_FORMS.
    """
    normals = jax.vmap(lambda key: jax.random.normal(key, (3,)))(keys)
    return COLOR_FORMS[form](images, normals, deviations, directions)


def view(images: Array, mean: Array, offset: Array, flip: Array, *, crop: int, form: str) -> Array:
    """Crops all images in the same way and subtracts the mean image.

    Args:
      images: (N, S, S, 3), 0…255.
      mean: (S, S, 3), 0…255.
      offset: integer (2,), row and column of the crop's corner; see `evaluation_views`.
      flip: bool (), whether to mirror the crop.
      crop: height and width of the crop.
      form: a key of MEAN_FORMS.

    Returns:
      float32 (N, crop, crop, 3).
    """
    crops = jax.lax.dynamic_slice(images, (0, *offset, 0), (len(images), crop, crop, 3))
    crops = jnp.where(flip, crops[:, :, ::-1], crops)
    return subtract_mean(crops, mean, offset[None], flip[None], form)
