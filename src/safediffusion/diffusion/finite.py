"""Whether a model's output is finite."""

from torch import Tensor

from safediffusion.errors import RunError


def finite(images: Tensor) -> Tensor:
    """The images (n, 3, h, w), where all their values are finite.

    Raises:
        RunError: one is not finite.
    """
    if not images.isfinite().all():
        raise RunError(
            "the model drew nan or infinity; set model.dtype=fp32, or start over with a lower train.lr"
        )
    return images
