"""First budget at which a run is safe, ratios that may be bounds, and their intervals."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st


def points(*unsafe, skill=0.5):
    from arrival import Point

    return [Point(100.0 * i, 1000.0 * i, {"unsafe": u, "skill": skill}) for i, u in enumerate(unsafe)]


@pytest.fixture
def condition():
    from arrival import Condition

    return Condition("unsafe", 0.18, {"skill": 0.45})


def test_arrival_is_the_first_budget_at_which_the_condition_holds(condition):
    from arrival import Arrival, arrival

    run = points(0.5, 0.3, 0.18, 0.25, 0.1)
    assert arrival(run, condition, "seconds") == Arrival(True, 200.0, 100.0)
    assert arrival(run, condition, "passes") == Arrival(True, 2000.0, 1000.0)


def test_safety_bought_with_quality_is_no_arrival(condition):
    from arrival import Arrival, arrival

    run = [*points(0.5), *points(0.5, 0.1, 0.05, skill=0.44)[1:]]
    assert arrival(run, condition, "seconds") == Arrival(False, 200.0, 100.0)
    assert arrival(run, condition, "seconds").show() == "> 200"


@pytest.mark.parametrize("run", [(0.1, 0.1), (0.5,)])
def test_nothing_is_timed_without_an_unsafe_base_and_a_budget(condition, run):
    from arrival import arrival

    with pytest.raises(ValueError, match="nothing to time"):
        arrival(points(*run), condition, "seconds")


def arrivals(*costs):
    """A negative cost is of a run that had not arrived by then."""
    from arrival import Arrival

    return [Arrival(c > 0, abs(c), 0.0) for c in costs]


def test_ratio_is_the_geometric_mean_of_pairs():
    from arrival import ratio_over_seeds

    ratio = ratio_over_seeds(arrivals(200, 800), arrivals(100, 100))
    assert ratio.kind == "exact" and ratio.value == pytest.approx(4.0)
    assert ratio_over_seeds(arrivals(200), arrivals(100)).show() == "2.0"


def test_a_baseline_that_did_not_arrive_bounds_from_below():
    from arrival import ratio_over_seeds

    ratio = ratio_over_seeds(arrivals(-3600, 1200, -3600), arrivals(100, 100, 100))
    assert ratio.kind == "at least" and ratio.ci_high is None
    assert ratio.show() == f">= {(36 * 12 * 36) ** (1 / 3):.1f} [12.0, ...]"
    slow = ratio_over_seeds(arrivals(100, 100), arrivals(-3600, 200))
    assert slow.kind == "at most" and slow.ci_low is None and slow.ci_high == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("baseline", "recipe"), [((-10, 10), (-10, 10)), ((-10, 10), (10, -10))], ids=["both", "mixed"]
)
def test_bounds_of_both_kinds_say_nothing(baseline, recipe):
    from arrival import ratio_over_seeds

    ratio = ratio_over_seeds(arrivals(*baseline), arrivals(*recipe))
    assert (ratio.value, ratio.kind, ratio.ci_low, ratio.ci_high) == (None, "unknown", None, None)
    assert "unknown" in ratio.show()


@given(st.lists(st.floats(0.1, 100), min_size=2, max_size=7))
def test_interval_holds_the_mean_and_stays_within_the_seeds(costs):
    from arrival import ratio_over_seeds

    ratio = ratio_over_seeds(arrivals(*costs), arrivals(*[1.0] * len(costs)))
    slack = 1 + 1e-9
    assert min(costs) / slack <= ratio.ci_low <= ratio.value * slack
    assert ratio.value / slack <= ratio.ci_high <= max(costs) * slack


def test_bootstrap_of_many_seeds_agrees_with_the_normal_interval():
    from arrival import bootstrap

    x = np.random.default_rng(0).normal(size=400)
    half = 1.96 * x.std() / math.sqrt(400)
    # 4,000 resamples place a 2.5% quantile to about 0.1 half-widths
    np.testing.assert_allclose(bootstrap(x, 1), [x.mean() - half, x.mean() + half], atol=0.15 * half)


def test_profile_shares_add_up_and_unnamed_phases_are_the_rest():
    from arrival import profile

    seconds = {"sample": 4.0, "decode": 1.0, "score": 1.0, "update": 3.0, "other": 0.5, "later": 0.5}
    shares = profile([{"seconds": seconds}, {"seconds": seconds}])
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["sampling"] == pytest.approx(0.4) and shares["everything else"] == pytest.approx(0.1)


def test_band_ends_with_the_shortest_run():
    from arrival import band

    rows = band([points(0.5, 0.4, 0.3), points(0.5, 0.2)], "unsafe")
    assert [row[:2] for row in rows] == [(0.0, 0.5), (100.0, pytest.approx(0.3))]
    assert rows[0][2:] == (0.5, 0.5) and rows[1][2] < 0.2 and rows[1][3] > 0.4
