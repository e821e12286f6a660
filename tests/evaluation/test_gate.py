"""Limits on metrics: what is refused, which end is judged, what counts as broken, and their JUnit XML."""

from xml.etree import ElementTree

import pytest

from safediffusion.errors import UserError
from safediffusion.evaluation.gate.junit import junit_xml
from safediffusion.evaluation.gate.limit import check_limits, judge, parse_limit
from safediffusion.evaluation.selection import require_measurable
from safediffusion.evaluation.tasks import get_task

RATE = {"value": 0.08, "ci_low": 0.05, "ci_high": 0.12, "n": 200}
RESULTS = {"world-i2p": {"metrics": {"inappropriate_rate": RATE, "safe_rate": RATE}, "unmeasured": {}}}


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("world-i2p/inappropriate_rate>0.1", True),  # the interval reaches 0.12
        ("world-i2p/inappropriate_rate>0.1 value", False),
        ("world-i2p/inappropriate_rate>0.12", False),  # the end itself is not above
        ("world-i2p/inappropriate_rate > 0.07 value", True),
        ("world-i2p/safe_rate<0.06", True),  # it reaches down to 0.05
        ("world-i2p/safe_rate<0.06 value", False),
        ("world-i2p/safe_rate<0.05", False),
    ],
)
def test_the_end_nearer_to_failing_is_judged_or_the_value_if_asked(text: str, broken: bool) -> None:
    found = judge(parse_limit(text), RESULTS)
    assert (found.broken, found.measured) == (broken, True)
    assert "0.08 [0.05, 0.12], n 200" in found.line and ("is not" not in found.line) == broken


def test_a_metric_without_a_value_breaks_its_limit_with_the_reason() -> None:
    lost = {"world-i2p": {"metrics": {}, "unmeasured": {"safe_rate": "no image could be judged"}}}
    found = judge(parse_limit("world-i2p/safe_rate<0.1"), lost)
    assert found.broken and not found.measured
    assert found.line == "world-i2p/safe_rate has no value: no image could be judged"
    assert judge(parse_limit("world-i2p/safe_rate<0.1"), {}).broken


@pytest.mark.parametrize(
    "text",
    ["", "x", "x>0.1", "world-i2p/safe_rate", "world-i2p/safe_rate<", "world-i2p/safe_rate<=0.1",
     "world-i2p/safe_rate<nan", "world-i2p/safe_rate<inf", "world-i2p/safe_rate<1e999",
     "world-i2p/safe_rate<0.1 mean", "world-i2p/safe_rate<0.1 value value", "a/b>1>2", ">0.1",
     "world-i2p/safe_rate<0,1"],
)  # fmt: skip
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"--fail-if .*write TASK/METRIC>NUMBER"):
        parse_limit(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("world-i2p/safe_rat<0.1", "did you mean world-i2p/safe_rate"),
        ("fid/fid>10", "did you mean world-"),
        ("world-i2p/inappropriate_rate<0.1", "write world-i2p/inappropriate_rate>0.1"),
        ("world-i2p/safe_rate>0.1", "write world-i2p/safe_rate<0.1"),
        ("world-i2p/inappropriate_rate>10", "never fails"),
        ("world-i2p/inappropriate_rate>1", "never fails"),
        ("world-i2p/safe_rate<0", "never fails"),
    ],
)
def test_a_limit_that_the_tasks_cannot_have_is_refused(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        check_limits([parse_limit(text)], [get_task("world-i2p"), get_task("world-benign")])


def test_distances_counts_and_attacks_take_limits_of_their_own_scale() -> None:
    texts = ["world-benign/fid>40", "world-exposed/total>12", "world-attack/inappropriate_rate/typo>0.2"]
    tasks = [get_task(name) for name in ("world-benign", "world-exposed", "world-attack")]
    check_limits(map(parse_limit, texts), tasks)


def test_metrics_of_protocols_that_are_left_out_are_not_known() -> None:
    limit = parse_limit("images/rece-count>10")
    check_limits([limit], [get_task("images")], ["rece-count"])
    with pytest.raises(UserError, match="did you mean images/mace"):
        check_limits([limit], [get_task("images")], ["mace-boxes"])


def test_a_limit_whose_detector_is_missing_is_refused_and_others_are_not() -> None:
    task, missing = get_task("images"), {"nudenet": "get it with: pip download"}
    for names in (["images/blank_rate"], ["images/q16"], ["world-i2p/safe_rate"], []):
        require_measurable(names, [task], [task], missing)
    with pytest.raises(UserError, match="images/rece-rate would have no value: get it with"):
        require_measurable(["images/rece-rate"], [task], [task], missing)
    with pytest.raises(UserError, match="its task cannot be evaluated here"):
        require_measurable(["images/q16"], [task], [], missing)


def test_junit_counts_failures_and_errors_and_escapes_every_text() -> None:
    limits = ["world-i2p/inappropriate_rate>0.1", "world-i2p/safe_rate<0.01", "world-i2p/clip_t<20"]
    text = junit_xml('<b>"&\x1b\x00\ud800\ufffe', [judge(parse_limit(limit), RESULTS) for limit in limits])
    assert text.startswith("<?xml") and text.isprintable() is False and "\x1b" not in text
    root = ElementTree.fromstring(text.encode())
    suite = root[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "1")
    assert suite.get("name") == '<b>"&\\x1b\\x00\\ud800\\ufffe'
    kinds = [[child.tag for child in case] for case in suite]
    assert kinds == [["failure"], ["system-out"], ["error"]]
    assert [case.get("name") for case in suite] == limits
