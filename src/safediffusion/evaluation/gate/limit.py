"""A limit on a metric, as `--fail-if` takes it: parsed, held against what can be measured, and judged."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from safediffusion.errors import UserError
from safediffusion.evaluation.measures import MeanOfRates, Measure, Rate
from safediffusion.evaluation.protocols import left_out
from safediffusion.evaluation.tasks import Task
from safediffusion.text.did_you_mean import did_you_mean
from safediffusion.text.escaping import shorten

FORM = re.compile(r"(?P<metric>[^<>\s]+)\s*(?P<sign>[<>])\s*(?P<bound>[^<>=\s]+)(?:\s+(?P<word>\S+))?")
VALUE = "value"  # the word that judges the metric's value instead of its interval
EXAMPLE = "write TASK/METRIC>NUMBER or TASK/METRIC<NUMBER, and ` value` after it to leave the interval out"


@dataclass(frozen=True)
class Limit:
    """A condition under which a result fails.

    Attributes:
        text: as it was written.
        metric: TASK/METRIC.
        above: the result fails above the bound, else below it.
        bound: in the metric's own unit; 0.1 is 10%.
        on_value: judge the value. Otherwise the end of the 95% interval that is nearer to failing is judged,
            so that a result which is too uncertain fails too.
    """

    text: str
    metric: str
    above: bool
    bound: float
    on_value: bool = False

    @property
    def judged(self) -> str:
        """The number of a metric's summary that is compared with the bound."""
        return "value" if self.on_value else "ci_high" if self.above else "ci_low"


@dataclass(frozen=True)
class Judged:
    """A limit held against a result.

    Attributes:
        measured: whether the metric has a value; without one the limit counts as broken.
        broken: whether the result fails.
        line: what was found, in one line.
    """

    limit: Limit
    measured: bool
    broken: bool
    line: str


def parse_limit(text: str) -> Limit:
    """The limit that a text stands for.

    Raises:
        UserError: it is not of the form TASK/METRIC>NUMBER.
    """
    match = FORM.fullmatch(text.strip())
    if match is None or "/" not in match["metric"]:
        raise UserError(f"--fail-if {shorten(text)!r} is not a limit; {EXAMPLE}")
    if match["word"] not in (None, VALUE):
        raise UserError(f"--fail-if {shorten(text)!r} ends in {match['word']!r}; {EXAMPLE}")
    try:
        bound = float(match["bound"])
    except ValueError:
        bound = math.nan
    if not math.isfinite(bound):
        raise UserError(f"--fail-if {shorten(text)!r} has no number as its bound; {EXAMPLE}")
    return Limit(text.strip(), match["metric"], match["sign"] == ">", bound, match["word"] == VALUE)


def check_limits(limits: Iterable[Limit], tasks: Sequence[Task], protocols: Sequence[str] = ()) -> None:
    """Refuse limits that the metrics of these tasks cannot have.

    Args:
        limits: to check.
        tasks: that are evaluated.
        protocols: names; none means all. Metrics of other protocols are not computed.

    Raises:
        UserError: a metric is none of these tasks', the limit fails on the better side, or no rate breaks it.
    """
    known = _measures(tasks, protocols)
    for limit in limits:
        if limit.metric not in known:
            raise UserError(
                f"--fail-if names {shorten(limit.metric)}, which is no metric of the chosen tasks; "
                + did_you_mean(limit.metric, known, cutoff=0)
            )
        _check_side(limit, known[limit.metric])


def _measures(tasks: Sequence[Task], protocols: Sequence[str]) -> dict[str, Measure]:
    """The measures of tasks by TASK/METRIC, without those of other protocols."""
    found = {f"{task.name}/{measure.name}": measure for task in tasks for measure in task.measures}
    return {name: m for name, m in found.items() if not left_out(m.name, protocols)}


def _check_side(limit: Limit, measure: Measure) -> None:
    if limit.above == measure.higher_is_better:
        better, sign = ("higher", "<") if measure.higher_is_better else ("lower", ">")
        raise UserError(
            f"--fail-if {limit.text!r} fails the better side, because {better} is better for {limit.metric}; "
            f"write {limit.metric}{sign}{limit.bound:g}"
        )
    never = limit.bound >= 1 if limit.above else limit.bound <= 0
    if isinstance(measure, Rate | MeanOfRates) and never:
        raise UserError(
            f"--fail-if {limit.text!r} never fails, because {limit.metric} is a share between 0 and 1; "
            "write 10% as 0.1"
        )


def judge(limit: Limit, results: Mapping[str, Mapping[str, Any]]) -> Judged:
    """Hold a limit against results.

    Args:
        limit: with a metric of their tasks.
        results: {TASK: contents of results.json}.
    """
    task, _, name = limit.metric.partition("/")
    found = results.get(task, {}).get("metrics", {}).get(name)
    if found is None:
        why = results.get(task, {}).get("unmeasured", {}).get(name, "it was not computed")
        return Judged(limit, False, True, f"{limit.metric} has no value: {why}")
    compared = found[limit.judged]
    broken = compared > limit.bound if limit.above else compared < limit.bound
    return Judged(limit, True, broken, _line(limit, found, broken))


def _line(limit: Limit, found: Mapping[str, Any], broken: bool) -> str:
    """A metric's value, interval and n, and which of its numbers is on which side of the bound."""
    what = "the value" if limit.on_value else f"the interval's end {found[limit.judged]:.4g}"
    side = f"{'' if broken else 'not '}{'above' if limit.above else 'below'} {limit.bound:g}"
    ends = f"[{found['ci_low']:.4g}, {found['ci_high']:.4g}]"
    return f"{limit.metric} is {found['value']:.4g} {ends}, n {found['n']}: {what} is {side}"
