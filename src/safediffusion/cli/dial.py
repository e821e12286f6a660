"""`--strength`: the weights of a run's model between its base and its result, or beyond."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from safediffusion.cli.evaluate import ONLY_MODELS, EvaluateRequest, evaluate_model
from safediffusion.errors import UserError
from safediffusion.models.loaded import run_of
from safediffusion.text.terminal import say


def evaluate_strengths(
    model: str, baseline: str | None, dial: Sequence[float], request: EvaluateRequest
) -> list[Path]:
    """Evaluate a run's model at every strength; returns the result folders, the baseline's first.

    They lie in the run, RUN/eval/strength-S, whose report shows them; with --out in its folder.

    Raises:
        UserError: the model is no run, a part is to be replaced, or limits are given and it is not one
            strength that is held to them.
    """
    from safediffusion.baselines.sampling import check_suffix, refuse_suffix
    from safediffusion.evaluation.held_out import held_out_of
    from safediffusion.evaluation.runner import EvaluationOptions, evaluate
    from safediffusion.evaluation.sources.strength import AtStrength

    if request.parts:
        raise UserError(f"{ONLY_MODELS}, and --strength lies between two; leave one of them out")
    if request.limits and len(dial) > 1:
        raise UserError("--fail-if judges one model; give one --strength with it")
    refuse_suffix(model, "evaluated at a strength")
    check_suffix(baseline or "")
    run = run_of(model)
    config = request.config_of(model)
    tasks = request.tasks or config.evaluate.tasks
    request.check_limits(tasks)
    options = EvaluationOptions.of(config.evaluate, request.limit)
    request = replace(request, held_out=held_out_of(run.root))
    done = [evaluate_model(baseline, config, request)] if baseline else []
    for strength in dial:
        name = f"strength-{strength:.12g}"
        folder = request.folder(model) / name if request.out else run.eval_path(name)
        evaluate(AtStrength(config.model, run.model, strength), tasks, folder, options, **request.options)
        done.append(folder)
    return done


def show_curve(model: str) -> None:
    """Write the run's report again, with the strengths that were evaluated."""
    from safediffusion.report.report import write_report

    say(write_report(run_of(model)))
