"""Whether exports open in other versions of diffusers and transformers, with the trainer's picture.

    python benchmarks/compatibility.py                       # makes the environments, trains, draws, compares
    python benchmarks/compatibility.py --envs DIR --only old

Each environment of ENVIRONMENTS is made by pip in a folder of its own below --envs (about 1 GB each) and used
again. The oldest one writes a tiny model in the layout of Stable Diffusion 1.4, the libraries installed here
write tiny ones of the other families; this program trains these and World for two rounds, with an adapter and
without, and exports them. Then every environment draws from the
same noise by plain diffusers. Writes benchmarks/results/compatibility.json and the table in docs/exports.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from training_runs import markdown, write_result

from safediffusion.diffusion import noise
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.families.flux import pack
from safediffusion.diffusion.load import load_model
from safediffusion.diffusion.portable import make_portable
from safediffusion.diffusion.sample import generate
from safediffusion.models.named import run_config
from safediffusion.publish.export import ADAPTER, Target, copy
from safediffusion.world import asset

CLIENT = Path(__file__).with_name("compatibility_client.py")
PAGE = Path(__file__).parents[1] / "docs/exports.md"
ENVIRONMENTS = {
    "oldest": ("diffusers==0.31.0", "transformers==4.46.3", "peft==0.13.2"),
    "last 4.x": ("diffusers==0.35.2", "transformers==4.57.6", "peft==0.17.1"),
    "first 5.x": ("diffusers==0.37.1", "transformers==5.0.0", "peft==0.18.1"),
    "newest": ("diffusers", "transformers", "peft"),
}
T5 = ("sentencepiece", "protobuf")  # transformers 4 asks for them to read a T5 tokenizer, SD3's and FLUX's
SHORT = ["train.steps=2", "train.updates=1", "evaluate.tasks=[]", "rollout.steps=4", "rollout.group_size=2"]
SHORT += [
    "prompts.path=world-benign",
    "rollout.prompts=2",
    "rollout.neighbours=0",
    "model.dtype=fp32",
    "evaluate.steps=4",
]
PROMPT, STEPS, GUIDANCE = "a red square left of a blue circle", 4, 3.0
NEAR = 1e-3  # of a picture in [0, 1]: a quarter of one of 255 levels; versions order sums differently


def environment(name: str, root: Path) -> Path:
    """The Python of an environment, made unless it is there."""
    folder = root / re.sub(r"\W+", "-", name)
    python = folder / "bin/python"
    if not (folder / "done").exists():
        print(f"making {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pins = ("torch==2.13.0", "accelerate", *T5, *ENVIRONMENTS[name])
        subprocess.run([python, "-m", "pip", "install", "--quiet", *pins], check=True)
        (folder / "done").touch()
    return python


def client(python: Path, *words: object) -> None:
    """Run compatibility_client.py there, away from this project and from any hub."""
    alone = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    alone |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    done = subprocess.run([python, CLIENT, *map(str, words)], env=alone, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{python} {CLIENT.name} {words[0]} failed:\n{done.stderr}")


def picture_of(diffuser: Diffuser) -> torch.Tensor:
    """What the trainer's own sampler draws, (h, w, 3) in [0, 1]."""
    return generate(diffuser, [PROMPT], [0], STEPS, GUIDANCE)[0].permute(1, 2, 0)


def newest_bases(work: Path) -> dict[str, Path]:
    """Tiny models of the other families, written by the newest libraries: those installed here."""
    sys.path.insert(0, str(CLIENT.parents[1]))
    from tests.pipelines import FAMILIES

    for name in ("SDXL", "SD3", "FLUX"):
        pipeline = FAMILIES[name.lower()]()
        pipeline.vae.decoder.conv_out.weight.data *= 100  # random weights draw grey otherwise
        pipeline.save_pretrained(work / name)
        make_portable(work / name)  # the adapters are loaded onto it
    return {name: work / name for name in ("SDXL", "SD3", "FLUX")}


def train(base: str, rank: int, out: Path, side: int | None) -> Path:
    """A run of two rounds."""
    words = [*SHORT, f"model.path={base}", f"train.lora_rank={rank}", "train.lr=1e-2", "train.grad_norm=1"]
    words += [f"model.resolution={side}"] if side else []
    command = [sys.executable, "-m", "safediffusion", "train", "world", *words, "--out", out]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stderr}")
    return out


def exports(name: str, base: Path, work: Path, side: int | None = None) -> dict[str, dict[str, Any]]:
    """What is to be drawn of a base model: its runs' exports, and the picture that the trainer draws.

    Args:
        name: what the table calls it.
        base: its folder.
        work: where runs and exports go.
        side: of the pictures, in pixels, where the model does not tell it.
    """
    jobs: dict[str, dict[str, Any]] = {}
    before = picture_of(load_model(base, dtype="fp32", resolution=side))
    for rank in (0, 4):
        run = train("world" if name == "World" else str(base), rank, work / f"{name}-{rank}", side)
        config = run_config(str(run))
        diffuser = load_model(config.model, "cpu", merged=True)
        z = noise.normal([(noise.SAMPLE, 0)], (1, *diffuser.latent_shape))[:, 0]
        z = pack(z) if "FLUX" in name else z
        save_file({"noise": z}, work / f"{name}.noise.safetensors")
        picture = picture_of(diffuser)
        change = (picture - before).abs().max().item()
        if change < 5 * NEAR:
            sys.exit(f"training {name} changed its picture by {change:.1g}, too little to tell exports apart")
        kind = "adapter" if rank else "whole network"
        whole = copy(run, Target.diffusers, work / f"{name}-{rank}-out")
        drawn: dict[str, tuple[Path, Path | None]] = {f"{name}, {kind}": (whole, None)}
        if rank:
            lora = copy(run, Target.lora, work / f"{name}-lora") / ADAPTER
            drawn[f"{name}, adapter as lora"] = (base, lora)
        if rank and name not in ("SD3", "FLUX"):  # diffusers reads those at their true size, or not at all
            drawn[f"{name}, adapter as kohya"] = (base, copy(run, Target.kohya, work / f"{name}-kohya"))
        for job, (model, adapter) in drawn.items():
            jobs[job] = {
                "model": str(model),
                "adapter": str(adapter) if adapter else None,
                "noise": str(work / f"{name}.noise.safetensors"),
                "prompt": PROMPT,
                "steps": STEPS,
                "guidance": GUIDANCE,
                "size": {"height": side, "width": side} if side else {},
                "picture": picture,
            }
    return jobs


def compare(python: Path, jobs: dict[str, dict[str, Any]], work: Path) -> dict[str, Any]:
    """Versions of an environment, and for each job the largest difference from the trainer's picture."""
    told = {name: {key: job[key] for key in job if key != "picture"} for name, job in jobs.items()}
    (work / "jobs.json").write_text(json.dumps(told), encoding="utf-8")
    client(python, "draw", work / "jobs.json", work / "drawn")
    drawn = load_file(work / "drawn.safetensors")
    answer = json.loads((work / "drawn.json").read_text(encoding="utf-8"))
    differences = {
        name: (drawn[name] - job["picture"]).abs().max().item() if name in drawn else None
        for name, job in jobs.items()
    }
    said = {name: lines for name, lines in answer["said"].items() if lines}
    return {"versions": answer["versions"], "differences": differences, "said": said}


def table(found: dict[str, Any]) -> str:
    """A row per export, a column per environment."""
    jobs = next(iter(found.values()))["differences"]
    rows = [
        [job, *(show(one["differences"][job], one["said"].get(job)) for one in found.values())]
        for job in jobs
    ]
    versions = [
        "diffusers {diffusers}, transformers {transformers}, peft {peft}".format(**one["versions"])
        for one in found.values()
    ]
    return markdown(["", *versions], rows)


def show(difference: float | None, said: list[str] | None) -> str:
    """A cell of the table."""
    if difference is None:
        return "does not open"
    same = "same" if difference <= NEAR else "**other**"
    return f"{same} ({difference:.1g}){', warns' if said else ''}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    place = Path(tempfile.gettempdir()) / "safediffusion-environments"
    parser.add_argument("--envs", type=Path, default=place, help="where the environments are kept")
    parser.add_argument("--only", help="one environment")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        oldest = environment("oldest", arguments.envs)
        client(oldest, "base", asset("pipeline") / "tokenizer", work / "base")
        jobs = exports("SD 1.4 layout", work / "base", work) | exports("World", asset("pipeline"), work)
        for name, base in newest_bases(work).items():
            jobs |= exports(name, base, work, side=16)
        names = [arguments.only] if arguments.only else list(ENVIRONMENTS)
        found = {name: compare(environment(name, arguments.envs), jobs, work) for name in names}
    print(table(found))
    for name, one in found.items():
        for job, lines in one["said"].items():
            print(f"{name}: {job}: {lines}")
    if arguments.only:
        return
    today = date.today().isoformat()
    write_result(
        "compatibility",
        {
            "command": "python benchmarks/compatibility.py",
            "date": today,
            "prompt": PROMPT,
            "environments": found,
        },
    )
    text = f"Run on {today}; largest difference of an image in [0, 1].\n\n{table(found)}"
    marked = re.compile(r"(<!-- compatibility: .*? -->\n).*?(<!-- end -->)", re.DOTALL)
    PAGE.write_text(
        marked.sub(lambda at: f"{at[1]}{text}{at[2]}", PAGE.read_text(encoding="utf-8")), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
