"""How many rows a call of the network has: the same number in every call where densities are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safediffusion.config import RunConfig

if TYPE_CHECKING:
    from safediffusion.training.algorithms.algorithm import Algorithm

SMALLEST = 8  # rows; fewer leave a device idle


def filled(rows: int, together: int, call: int) -> int:
    """Rows computed, padding included, for `rows` rows in batches of `together` and calls of `call`."""
    whole, rest = divmod(rows, together)
    return (whole * -(-together // call) + -(-rest // call)) * call


def call_rows(*work: tuple[int, int, float]) -> int:
    """The number of rows per call with the lowest total cost; of equal ones the largest.

    Half-precision kernels round differently for different shapes, so rollout and update share one shape. A
    large call wastes padding, a small one leaves the device idle.

    Args:
        work: (rows, rows per batch, relative cost per row) of the rollout and of the update.
    """
    most = max(1, min(min(rows, together) for rows, together, _ in work))
    sizes = range(most, max(1, min(most, SMALLEST)) - 1, -1)
    return min(sizes, key=lambda call: sum(w * filled(rows, together, call) for rows, together, w in work))


def passes(guidance: float, distilled: bool) -> int:
    """Rows of the network per image: guidance takes two, unless the guidance is an input of the network."""
    return 2 if guidance > 1 and not distilled else 1


def shared_rows(algorithm: type[Algorithm], config: RunConfig, images: int, distilled: bool) -> int | None:
    """Rows of every call of a round, guidance included; None where sampling and update have their own.

    Args:
        algorithm: of the run.
        config: of the run.
        images: of a round on this device.
        distilled: whether the guidance is an input of the network.
    """
    r, train = config.rollout, config.train
    work = algorithm.update_work(config, images)
    together = -(-work.rows // train.updates)  # in an optimizer step
    weight = train.updates * (3 + work.extra_passes)  # a backward pass costs two forward ones
    twice = passes(r.guidance, distilled)
    update = (together, train.micro_batch, weight)
    if algorithm.needs_density:
        return (twice if work.guided else 1) * call_rows((images, r.batch_size, r.steps), update)
    if not train.compile:
        return None
    return call_rows((twice * images, twice * r.batch_size, r.steps), update)


def network_rows(
    algorithm: type[Algorithm], config: RunConfig, images: int, distilled: bool
) -> tuple[int, int, int]:
    """Rows of a call when sampling, of a call in the update, and of all calls before a backward pass."""
    r, train = config.rollout, config.train
    work = algorithm.update_work(config, images)
    together = min(train.micro_batch, -(-work.rows // train.updates))
    together *= passes(r.guidance, distilled) if work.guided else 1
    shared = shared_rows(algorithm, config, images, distilled)
    if shared:
        return shared, shared, -(-together // shared) * shared
    return passes(r.guidance, distilled) * min(r.batch_size, images), together, together
