"""One number of rows for every call of the network in a round, such that few calls have to be filled up."""

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
