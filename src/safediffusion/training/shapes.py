"""How many rows a call of the network has: in a round with a density, one number for every call."""

from safediffusion.schema import RunConfig

SMALLEST = 8  # rows; fewer leave a device idle


def filled(rows: int, together: int, call: int) -> int:
    """Rows computed for `rows`, `together` at a time, in calls of `call` rows of which the last is filled."""
    whole, rest = divmod(rows, together)
    return (whole * -(-together // call) + -(-rest // call)) * call


def call_rows(*work: tuple[int, int, float]) -> int:
    """The number of rows that costs least over (rows, together, weight); of equal ones the largest.

    Half-precision kernels round differently for different shapes, so rollout and update share one.
    """
    most = max(1, min(min(rows, together) for rows, together, _ in work))
    sizes = range(most, max(1, min(most, SMALLEST)) - 1, -1)
    return min(sizes, key=lambda call: sum(w * filled(rows, together, call) for rows, together, w in work))


def trained_count(config: RunConfig) -> int:
    """Steps of an image that grpo trains in a round."""
    train = config.train
    return max(1, round(train.timestep_fraction * (train.window or config.rollout.steps)))


def passes(guidance: float, distilled: bool) -> int:
    """Rows of the network for one image: guidance takes two, unless the network is told it."""
    return 2 if guidance > 1 and not distilled else 1


def shared_rows(config: RunConfig, images: int, distilled: bool) -> int | None:
    """Rows of every call of a round, guidance included; None where sampling and update have their own.

    Args:
        config: of the run.
        images: of a round on this device.
        distilled: whether the network is told the guidance.
    """
    r, train = config.rollout, config.train
    if train.algorithm == "grpo":
        update = -(-images * trained_count(config) // train.updates)
        weight = train.updates * (3 + train.keeps_reference)  # backward is two, and the reference one more
        both = passes(r.guidance, distilled) if train.cfg_update else 1
        return both * call_rows((images, r.batch_size, r.steps), (update, train.micro_batch, weight))
    if not train.compile:
        return None
    twice = passes(r.guidance, distilled)
    weight = train.updates * (3 + train.keeps_reference + config.keeps_old_copy)
    sampling = (twice * images, twice * r.batch_size, r.steps)
    return call_rows(sampling, (images, train.micro_batch, weight))


def network_rows(config: RunConfig, images: int, distilled: bool) -> tuple[int, int, int]:
    """Rows of a call when sampling, of a call in the update, and of all calls before a backward pass."""
    r, train = config.rollout, config.train
    grpo = train.algorithm == "grpo"
    steps = trained_count(config) * images if grpo else images * train.updates
    guided = grpo and train.cfg_update
    together = min(train.micro_batch, -(-steps // train.updates))
    together *= passes(r.guidance, distilled) if guided else 1
    shared = shared_rows(config, images, distilled)
    if shared:
        return shared, shared, -(-together // shared) * shared
    return passes(r.guidance, distilled) * min(r.batch_size, images), together, together
