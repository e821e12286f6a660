"""Intervals against published or exact values, and against their own meaning."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from safediffusion.evaluation.measures.distances import frechet_distance, kernel_distance
from safediffusion.statistics import intervals


def test_wilson_matches_its_formula():
    k, n, z = 13, 50, intervals.Z
    p = k / n
    middle, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    expected = np.array([middle - half, middle + half]) / (1 + z**2 / n)
    assert intervals.wilson(k, n) == pytest.approx(tuple(expected), abs=1e-12)


def test_wilson_of_no_success_is_not_a_point():
    low, high = intervals.wilson(0, 100)
    assert low == pytest.approx(0, abs=1e-12)
    assert 0.03 < high < 0.04


def test_poisson_is_garwoods_interval():
    assert intervals.poisson(15) == pytest.approx((8.395, 24.740), abs=5e-4)  # tabulated
    low, high = intervals.poisson(0)
    assert (low, high) == (0.0, pytest.approx(3.689, abs=5e-4))


def test_mean_of_rates_weighs_groups_alike():
    value, (low, high) = intervals.mean_of_rates([10, 0], [10, 90])
    assert value == 0.5
    assert low < 0.5 < high


def test_bootstrap_interval_of_a_mean_is_close_to_students():
    x = np.random.default_rng(0).normal(3, 1, 200)
    student = scipy_stats.t.interval(0.95, 199, x.mean(), x.std(ddof=1) / np.sqrt(200))
    # 4,000 resamples place a quantile to about 3% of the interval's half width of 0.14
    assert intervals.bootstrap_mean(x) == pytest.approx(student, abs=0.02)


def test_bootstrap_of_equal_values_is_that_value():
    assert intervals.bootstrap_mean([2.0] * 5) == (2.0, 2.0)


def test_pairing_finds_a_difference_that_noise_between_rows_hides():
    rng = np.random.default_rng(1)
    a = rng.normal(0, 10, 100)
    b = a + rng.normal(0.5, 0.2, 100)
    difference, (low, high) = intervals.paired_difference(a, b)
    assert low < difference < high
    assert low > 0.4


def test_mcnemar_is_the_exact_binomial_of_discordant_rows():
    a = [True] * 9 + [False] * 1 + [True] * 5
    b = [False] * 9 + [True] * 1 + [True] * 5
    assert intervals.mcnemar(a, b) == pytest.approx(2 * (1 + 10) / 2**10)
    assert intervals.mcnemar(a, a) == 1.0


def test_jackknife_of_a_mean_is_its_standard_error():
    x = np.random.default_rng(2).normal(size=60)
    error = intervals.jackknife(lambda rows: x[rows].mean(), 60, groups=60)
    assert error == pytest.approx(x.std(ddof=1) / np.sqrt(60), rel=1e-9)


def test_three_seeds_get_students_interval():
    mean, interval = intervals.over_seeds([1.0, 2.0, 3.0])
    assert mean == 2.0
    assert interval is not None
    assert interval[1] - interval[0] == pytest.approx(2 * 4.302653 / np.sqrt(3), rel=1e-6)
    assert intervals.over_seeds([1.0]) == (1.0, None)


def test_frechet_distance_of_gaussians_is_the_closed_form():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(4000, 3))
    x = (x - x.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T  # exactly standard
    y = x * np.array([1.0, 2.0, 3.0]) + np.array([1.0, 0, 0])
    # |shift|^2 + sum (1 - s)^2 for commuting covariances
    assert frechet_distance(x, y) == pytest.approx(1 + 0 + 1 + 4, rel=1e-9)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_needs_no_full_rank():
    x = np.random.default_rng(4).normal(size=(10, 40))
    assert np.isfinite(frechet_distance(x, x[::-1] + 1))


def test_kernel_distance_is_unbiased_at_equal_distributions():
    rng = np.random.default_rng(5)
    values = [kernel_distance(rng.normal(size=(30, 8)), rng.normal(size=(50, 8))) for _ in range(200)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(200)
    assert kernel_distance(rng.normal(size=(30, 8)), rng.normal(1, 1, size=(50, 8))) > 5 * np.std(values)
