"""`evaluate --fail-if`: the last result against limits; broken ones are printed, JUnit XML is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safediffusion.errors import UserError
from safediffusion.evaluation.gate.limit import Limit, parse_limit
from safediffusion.files.atomic import write_text
from safediffusion.text.terminal import complain

BROKEN = 3  # exit code


def read_limits(texts: Sequence[str], junit: Path | None) -> tuple[Limit, ...]:
    """The limits of the command line.

    Raises:
        UserError: one is not understood, or the JUnit file is a folder or would be empty.
    """
    if junit and not texts:
        raise UserError("--junit writes the limits of --fail-if; give at least one")
    if junit and junit.is_dir():
        raise UserError(f"--junit {junit} is a folder; give the name of a file in it")
    return tuple(map(parse_limit, texts))


def gate(folder: Path, limits: Sequence[Limit], junit: Path | None) -> bool:
    """Whether the results in a folder keep all limits; a line on stderr for each that is broken.

    Args:
        folder: holds TASK/results.json.
        limits: to keep.
        junit: a file for JUnit XML.
    """
    from safediffusion.evaluation.gate.junit import junit_xml
    from safediffusion.evaluation.gate.limit import judge
    from safediffusion.evaluation.results import read_results

    results = {name: stored.results for name, stored in read_results(folder).items()}
    judged = [judge(limit, results) for limit in limits]
    complain(*(f"broken: {one.line}" for one in judged if one.broken))
    if junit:
        write_text(junit, junit_xml(folder.resolve().name, judged))
    return not any(one.broken for one in judged)
