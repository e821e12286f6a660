"""The audit's statistics against what is known: by hand, in closed form, and by small simulations."""

import itertools

import numpy as np
import pytest
from scipy.stats import kstest, norm

from safediffusion.statistics.intervals import wilson
from safediffusion.statistics.resampling import (
    between,
    holm,
    means,
    percentiles,
    permutation_p,
    weights,
)
from safediffusion.steering.audit.alarms import bpsn
from safediffusion.steering.audit.axes import Axis, Grid
from safediffusion.steering.audit.drift import critical_alpha, drift, first_flips, preferred
from safediffusion.steering.audit.shift import axis_ranges, group_shifts


def grid(marked: np.ndarray, groups: dict[str, int], **parts: np.ndarray) -> Grid:
    """A grid of given embeddings (templates, terms, d); the other captions lie at the origin."""
    names = {name: tuple(f"{name}{i}" for i in range(size)) for name, size in groups.items()}
    templates = tuple((f"{k} {{}}", f"{k}") for k in range(len(marked)))
    nonce = parts.get("nonce", np.zeros((len(marked), 0, marked.shape[2])))
    reference = "nonce" if nonce.size else "mean"
    unmarked = parts.get("unmarked", np.zeros((len(marked), marked.shape[2])))
    return Grid(Axis("axis", templates, names, ("x",) * nonce.shape[1], reference), marked, unmarked, nonce)


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    rows = rng.normal(size=shape)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def test_pigeonhole_intervals_cover_the_mean_of_a_table_of_random_rows_and_columns():
    rng, hits, naive = np.random.default_rng(0), 0, 0
    for _ in range(300):
        table = 0.7 + rng.normal(size=(24, 1)) + rng.normal(size=(1, 8)) + rng.normal(size=(24, 8))
        rows, columns = weights(24, rng, 400), weights(8, rng, 400)
        low, high = percentiles(means(table, rows, columns), 0.95)
        hits += low < 0.7 < high
        half = 1.96 * table.std() / np.sqrt(table.size)
        naive += abs(table.mean() - 0.7) < half
    assert hits / 300 > 0.91  # 8 columns: a bootstrap of 8 values covers 92%
    assert naive / 300 < 0.6  # cells are not independent


def test_weights_are_those_of_rows_drawn_with_replacement():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(5, 3))
    rows, columns = weights(5, rng, 20_000), weights(3, rng, 20_000)
    assert rows.sum(1) == pytest.approx(np.ones(20_000))
    found = means(table, rows, columns)
    by_hand = [table[np.ix_(rng.integers(5, size=5), rng.integers(3, size=3))].mean() for _ in range(5_000)]
    assert found.mean() == pytest.approx(table.mean(), abs=0.01)
    assert found.std() == pytest.approx(np.std(by_hand), rel=0.03)


def test_permutation_p_values_are_uniform_where_groups_mean_nothing():
    rng, owner = np.random.default_rng(1), np.array([0, 0, 1, 1, 2])
    found = []
    for _ in range(400):
        table = rng.normal(size=(6, 1)) * 3 + rng.normal(size=(6, 5))  # templates differ, terms do not
        found.append(permutation_p(table, owner, rng, shuffles=199))
    assert kstest(found, "uniform").pvalue > 0.05
    assert 0.02 < np.mean(np.array(found) <= 0.05) < 0.08


def test_permutation_p_is_small_where_a_group_is_set_apart_and_never_zero():
    rng = np.random.default_rng(2)
    table = rng.normal(size=(12, 4)) + np.array([0, 0, 0, 5])
    p = permutation_p(table, np.array([0, 0, 1, 2]), rng, shuffles=999)
    assert p == 1 / 1000


def test_a_range_counts_groups_and_not_terms():
    table = np.array([[0.0, 2.0, 4.0], [0.0, 2.0, 4.0]])
    assert between(table, np.array([0, 0, 1])) == 3.0
    assert between(table, np.array([0, 1, 2])) == 4.0


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_wilson_by_hand():
    low, high = wilson(3, 10)
    z = norm.ppf(0.975)
    center, half = (0.3 + z**2 / 20) / (1 + z**2 / 10), z * np.sqrt(0.021 + z**2 / 400) / (1 + z**2 / 10)
    assert (low, high) == pytest.approx((center - half, center + half))


def test_false_alarms_count_pairs_and_ties_half():
    rng = np.random.default_rng(0)
    scores, unsafe = rng.integers(0, 5, (4, 2)).astype(float), rng.integers(0, 5, 7).astype(float)
    value, low, high = bpsn(scores, unsafe, weights(4, rng), weights(7, rng))
    pairs = [(s > u) + (s == u) / 2 for s, u in itertools.product(scores.ravel(), unsafe)]
    assert value == pytest.approx(np.mean(pairs))
    assert 0 <= low < value < high <= 1 + 1e-12


def test_shifts_are_shares_of_the_gap_from_unmarked_captions_from_nonce_terms_and_from_the_mean():
    v = np.array([1.0, 0.0])
    marked = np.zeros((3, 3, 2))
    marked[:, :, 0] = [0.1, 0.3, -0.2]
    nonce = np.zeros((3, 2, 2))
    nonce[:, :, 0] = [0.04, 0.06]
    found = group_shifts(grid(marked, {"a": 2, "b": 1}, nonce=nonce), v, gap=2.0, count=2)
    assert [row.unmarked for row in found] == pytest.approx([0.1, -0.1])
    assert [row.shift for row in found] == pytest.approx([0.075, -0.125])
    assert [row.from_mean for row in found] == pytest.approx([0.1, -0.1])
    spread = np.std([0.02, 0.03], ddof=1)
    assert [row.nonce_sds for row in found] == pytest.approx([0.075 / spread, -0.125 / spread])
    assert found[0].low == pytest.approx(0.02) and found[0].high == pytest.approx(0.13)  # (.1 - .06) / 2 ...
    (between_groups,) = axis_ranges([grid(marked, {"a": 2, "b": 1}, nonce=nonce)], v, 2.0)
    assert (between_groups.lowest, between_groups.highest) == ("b", "a")
    assert between_groups.difference == pytest.approx(0.2)
    scores = np.array([0.05, 0.15] * 3 + [-0.1] * 3)
    assert between_groups.effect == pytest.approx(0.2 / scores.std(ddof=1))
    assert between_groups.nonce == pytest.approx(0.025)


def test_intervals_of_shifts_hold_for_all_groups_together():
    rng, inside = np.random.default_rng(5), 0
    for _ in range(60):
        marked = rng.normal(size=(40, 6, 1))  # no group is set apart
        found = group_shifts(grid(marked, dict.fromkeys("abcdef", 1)), np.ones(1), 1.0, count=6)
        inside += all(row.low <= 0 <= row.high for row in found)
    assert 0.9 < inside / 60 <= 1.0


def test_the_critical_alpha_is_that_of_the_closed_form():
    rng = np.random.default_rng(3)
    e, v = unit(rng, 7, 4, 10), unit(rng, 10)
    wanted = np.full((7, 4), np.inf)
    for k, t, other in itertools.product(range(7), range(4), range(4)):
        gain = v @ (e[k, other] - e[k, t])
        if gain > 0:
            wanted[k, t] = min(wanted[k, t], e[k, t] @ (e[k, t] - e[k, other]) / gain)
    found = first_flips(grid(e, dict.fromkeys("abcd", 1)), v)
    assert found == pytest.approx(wanted)
    critical = critical_alpha(grid(e, dict.fromkeys("abcd", 1)), v)
    assert critical == pytest.approx(np.sort(wanted.ravel())[1])  # 5% of 28 are two captions


@pytest.mark.parametrize("mode", ["translate", "project"])
def test_captions_flip_at_their_critical_alpha_and_not_before_with_several_terms_a_group(mode):
    rng = np.random.default_rng(4)
    e, v = unit(rng, 5, 5, 6), unit(rng, 6)
    table = grid(e, {"a": 2, "b": 2, "c": 1})
    flips = first_flips(table, v, mode)
    assert np.isfinite(flips).any() and (flips >= 0).all()
    for k, t in np.argwhere(np.isfinite(flips) & (flips > 1e-9)):
        after = preferred(table, v, flips[k, t] + 1e-9, mode)[k, t]
        assert after != table.owner[t]
        for alpha in np.linspace(0, flips[k, t] - 1e-9, 50):
            assert preferred(table, v, alpha, mode)[k, t] == table.owner[t]


def test_steered_targets_are_those_of_the_reward():
    import torch

    from safediffusion.steering.direction import steer

    rng = np.random.default_rng(6)
    e, v = unit(rng, 4, 3, 8), unit(rng, 8)
    table = grid(e, dict.fromkeys("abc", 1))
    for mode in ("translate", "project"):
        for k in range(4):
            target = steer(torch.from_numpy(e[k]), torch.from_numpy(v), 0.8, mode).numpy()
            assert (preferred(table, v, 0.8, mode)[k] == (target @ e[k].T).argmax(1)).all()


def test_drift_says_which_group_becomes_which():
    near = np.array([[1.0, 0.0, 0.0], [np.cos(0.3), np.sin(0.3), 0.0], [0.0, 0.0, 1.0]])
    groups, axis = drift(
        grid(near[None].repeat(6, 0), dict.fromkeys("abc", 1)), np.array([0.0, 1.0, 0.0]), 0.5
    )
    assert [(row.group, row.unsteered, row.steered) for row in groups] == [
        ("a", 1.0, 0.0), ("b", 1.0, 1.0), ("c", 1.0, 1.0),
    ]  # fmt: skip
    assert (groups[0].low, groups[0].high) == pytest.approx((-1.0, -1.0))
    assert (axis.lost, axis.gained, axis.moved) == ("a", "b", 6)
    assert axis.critical == pytest.approx((1 - np.cos(0.3)) / np.sin(0.3))
