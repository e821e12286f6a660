"""Whether safety outlasts a fine-tuning on harmless pictures: World made safe by ours and by other methods.

    python benchmarks/relapse.py [--only METHOD ...] [--seeds 0 1 2] [--steps 200] [--out DIR]

Each method has the settings of its row of `benchmarks/baselines.py` (the tuned ones where there are some),
and its models are those of that benchmark or made anew; methods of chance have one model per seed. Then
`safediffusion relapse` fine-tunes each on its own pictures of World's benign captions. Finished ones are
reused. Writes benchmarks/results/relapse.json and docs/images/relapse.png.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import baselines
import matplotlib as mpl
from baselines_rows import METHODS, Bare, Trained, WhileSampling
from baselines_tables import UNSAFE, estimate, scaled
from matplotlib.figure import Figure
from training_runs import Estimate, as_json, digest, markdown, world_hash, write_result

from safediffusion.files.run_folder import RunFolder
from safediffusion.report.plots import LOOK, PALETTE, save_png

MADE = [name for name, (made, *_) in METHODS.items() if not isinstance(made, Bare | WhileSampling)]
SHOWN = ("uce", "rece", "esd-x", "esd-u", "text-map", "ours")
APART = 2.6  # per cent, of names in the plot
LIMIT = 280  # images of world-i2p, as in the table of baselines
Row = dict[str, Any]


def models(plan: baselines.Plan, name: str) -> list[tuple[int | None, Path]]:
    """A method's models with the seeds of their making; made unless they are there."""
    _, made = baselines.tuned(plan, name)
    found = []
    for seed in plan.seeds if made.by_chance else (None,):
        asked = baselines.asked(plan, made, plan.judging, seed or 0)
        place = plan.out / world_hash() / digest(asked)
        baselines.obtained(plan, made, seed or 0, place)
        found.append((seed, RunFolder(place / "run").model if isinstance(made, Trained) else place / "model"))
    return found


def fine_tuned(model: Path, steps: int, out: Path) -> Row:
    """relapse.json of a model; the command goes on with what an earlier call left."""
    options = {"--steps": steps, "--limit": LIMIT, "--captions": "world", "--base": "world", "--out": out}
    words = [str(word) for option in options.items() for word in option]
    command = [sys.executable, "-m", "safediffusion", "relapse", str(model), "--tasks", "world-i2p", *words]
    print(f"$ {' '.join(command[1:])}", flush=True)
    if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
        sys.exit(f"the relapse in {out} failed; the same command goes on from there")
    return json.loads((out / "relapse.json").read_text(encoding="utf-8"))


def row_of(name: str, found: Sequence[Row], seeds: Sequence[int | None]) -> Row:
    """A method's curve: unsafe share by step, over seeds or, of one making, over pictures."""
    curve = {
        str(first["step"]): estimate([each["points"][i]["metrics"][UNSAFE] for each in found])
        for i, first in enumerate(found[0]["points"])
    }
    paired = [each["change"][UNSAFE] for each in found]
    change = estimate([one | {"value": one["difference"]} for one in paired])
    return {
        "method": name,
        "seeds": [seed for seed in seeds if seed is not None],
        "curve": as_json(curve),
        "change": asdict(change),
        "base": found[0]["base_metrics"][UNSAFE]["value"],
    }


def table(result: Row) -> str:
    """One row per method: unsafe share by step of fine-tuning, and what came back in all."""
    steps = list(result["rows"][0]["curve"])
    header = ["method", *(f"after {step} steps, %" for step in steps), "came back, points", "seeds"]
    rows = [
        [
            row["method"],
            *(percent(row["curve"][step]) for step in steps),
            percent(row["change"]),
            str(len(row["seeds"]) or "-"),
        ]
        for row in result["rows"]
    ]
    base = 100 * result["rows"][0]["base"]
    return f"{markdown(header, rows)}\nUnsafe images of world-i2p, n = {LIMIT}; base {base:.1f}%.\n"


def percent(stored: Row) -> str:
    """An estimate as read back, in per cent with its interval."""
    found = Estimate(**stored)
    return scaled(found, 100).show(1)


def plot(result: Row, path: Path) -> None:
    """The curves of all methods, ours in colour; the base's share as a dashed line."""
    with mpl.rc_context(LOOK):  # type: ignore[arg-type]
        figure = Figure(figsize=(6.4, 3.4))
        axes = figure.subplots()
        ends: list[tuple[float, str]] = []
        axes.axhline(100 * result["rows"][0]["base"], color=PALETTE["muted"], linestyle="--", linewidth=1)
        for row in result["rows"]:
            steps = [int(step) for step in row["curve"]]
            values = [100 * each["value"] for each in row["curve"].values()]
            ours = row["method"] == "ours"
            axes.plot(steps, values, "o-", color=PALETTE["after" if ours else "before"], markersize=4)
            ends.append((values[-1], row["method"]))
        at = -APART
        for value, name in sorted(ends):  # a name stands at its curve's end, or just above another name
            at = max(value, at + APART)
            axes.annotate(name, (steps[-1], at), xytext=(8, -3), textcoords="offset points", fontsize=8)
        axes.set(xlabel="steps of fine-tuning on harmless pictures", ylabel="inappropriate, %")
        axes.set_ylim(bottom=0)
        axes.margins(x=0.14)
    save_png(figure, path)


def main() -> None:
    """Fine-tune what is missing, method by method, writing the result again after each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", nargs="+", choices=MADE, default=SHOWN, metavar="METHOD", help=", ".join(MADE)
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of methods made by training")
    parser.add_argument("--steps", type=int, default=200, help="of the fine-tuning")
    parser.add_argument("--out", type=Path, default=Path("runs/baselines"), help="as of baselines.py")
    words = parser.parse_args()
    plan = baselines.parse(["--out", str(words.out), "--seeds", *map(str, words.seeds)])
    rows: list[Row] = []
    for name in words.only:
        made = models(plan, name)
        found = [fine_tuned(model, words.steps, model.parent / f"relapse-{words.steps}") for _, model in made]
        rows.append(row_of(name, found, [seed for seed, _ in made]))
        result = {
            "command": f"python benchmarks/relapse.py --only {' '.join(words.only)} --steps {words.steps}",
            "rows": rows,
        }
        path = write_result("relapse", result)
    plot(result, baselines.DOCS / "relapse.png")
    print(f"\n{table(result)}\n{path}", flush=True)


if __name__ == "__main__":
    main()
