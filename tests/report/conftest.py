"""A small run folder with the files that training and judging leave, made up but of the real shape."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.random import Generator

from safediffusion.config import RunConfig, dump
from safediffusion.evaluation.detectors.world import shows_harm
from safediffusion.evaluation.kept_images import KeptImages
from safediffusion.evaluation.records import read_records
from safediffusion.evaluation.results import write_records
from safediffusion.evaluation.tasks import get_task
from safediffusion.files.atomic import write_image, write_json, write_text
from safediffusion.files.json_lines import append_jsonl
from safediffusion.files.run_folder import RunFolder
from safediffusion.report.report import write_report
from safediffusion.steering.anchors import SafetyPolicy
from safediffusion.steering.audit.audit import Labelled, Steering, audit_policy
from safediffusion.training.sample_sheets import square_sheet
from safediffusion.world.scenes import CATEGORIES, PARTS, make_benign, make_harm, render
from tests.steering.known_encoder import KnownEncoder

LABELS = ("safe", *CATEGORIES, "unrecognisable")
STEPS = 60


def harm(rng: Generator, category: str | None, unsafe: float) -> dict[str, float]:
    label = category if category and rng.uniform() < unsafe else "safe"
    if rng.uniform() < 0.01:
        label = "unrecognisable"
    return {name: 0.92 if name == label else 0.01 for name in LABELS}


def seen(rng: Generator, task: str, row: dict[str, Any], unsafe: float, correct: float) -> dict[str, Any]:
    """What the detectors might say about a picture."""
    if task == "world-i2p":
        return {"harm": harm(rng, row["category"], unsafe)}
    parts = {part: float(rng.uniform() < unsafe) for part in PARTS}
    if task == "world-exposed":
        return {"parts": parts, "harm": harm(rng, "sexual", unsafe)}
    if task == "world-geneval":
        right = rng.uniform() < correct
        place = {"left of": (20, 32), "right of": (44, 32), "above": (32, 20), "below": (32, 44)}
        x, y = place.get(row["relation"] or "", (20, 20))
        found = [
            {"shape": item["shape"], "color": item["color"], "x": at[0], "y": at[1], "width": 4, "height": 4}
            for item, at in zip(row["include"], ((x, y), (32, 32)), strict=False)
            for _ in range(item["count"] if right else 0)
        ]
        return {"detections": found}
    features = rng.normal(size=4).round(4)
    return {
        "cosine": float(rng.normal(0.39 + 0.005 * correct, 0.03)),
        "parts": parts | {"person": 0.9},
        "harm": harm(rng, None, 0),
        "features": features.tolist(),
        "reference_features": rng.normal(size=(5, 4)).round(4).tolist(),
    }


def write_results(folder: Path, n: int, unsafe: float, correct: float) -> None:
    """Records and results of the four default tasks."""
    for i, name in enumerate(RunConfig().evaluate.tasks):
        task, seed = get_task(name), [i, round(100 * unsafe) if name == "world-benign" else 0]
        rng = np.random.default_rng(seed)
        records = [row | seen(rng, name, row, unsafe, correct) for row in task.prompts(n, 1234)]
        write_records(folder / name, records)
        sampler = {"steps": 16, "guidance": 3.0, "eta": 0.0, "name": "ddim"}
        head = {"task": name, "version": task.version, "n": len(records), "metrics": task.metrics(records)}
        write_json(folder / name / "results.json", head | {"sampler": sampler, "seeds": {"seed": 1234}})


def write_previews(folder: RunFolder, most: int = 35) -> None:
    """Pictures that show what the judge of world-i2p said of the first prompts."""
    rng = np.random.default_rng(0)
    for when in ("before", "after"):
        task = folder.eval_path(when, "world-i2p")
        kept = KeptImages(task / "previews", most, lambda row: False)
        for record in read_records(task)[:most]:
            unsafe = shows_harm(record["harm"])
            scene = make_harm(rng, record["category"], "beach") if unsafe else make_benign(rng, "beach")
            kept.add(record, torch.tensor(render(scene)).permute(2, 0, 1) / 255)


def write_metrics(folder: RunFolder, grpo: bool) -> None:
    """Rows of metrics.jsonl of a run with two rewards; NFT has no ratio."""
    rng = np.random.default_rng(0)
    for step in range(1, STEPS + 1):
        rise, noise = 1 - np.exp(-step / 25), rng.normal(size=9) * 0.012
        ratio = {
            "ratio_max_dev": 1e-6 * step,
            "clip_fraction_low": 0.1 * rise,
            "clip_fraction_high": 0.08 * rise,
        }
        row = {
            "step": step,
            "reward_mean": 0.4 + 0.1 * rise + noise[0],
            "reward_benign": 0.45 + 0.02 * rise + noise[1],
            "reward_unsafe": 0.34 + 0.2 * rise + noise[2],
            "rewards": {"steering": {"reward_mean": 0.4 + noise[0]}, "hps": {"reward_mean": 0.2 + noise[1]}},
            "zero_std_ratio": 0.0,
            "kl_ref": 0.02 * rise + abs(noise[3]) / 10,
            "kl_ref_per_timestep": {"1": 0.01 * rise, "501": 0.02 * rise},
            "grad_norm": 0.6 + noise[4] * 5,
            **(ratio | {"approx_kl": 1e-5 * rise} if grpo else dict.fromkeys((*ratio, "approx_kl"))),
            "images_per_s": 42.0 + 100 * noise[5],
            "seconds": {"sample": 1.4, "score": 0.2, "update": 2.1},
            "image_stats": {
                "edge_density": 0.12 + noise[6] / 4,
                "colour_entropy": 3.6 + noise[7],
                "saturation": 0.3 + noise[8] / 2,
                "high_frequency": 0.05 + noise[0] / 10,
            },
            "recognisable": min(1.0, 0.98 + noise[1]),
            "collapse": False,
        }
        append_jsonl(folder.metrics, row)


def write_samples(folder: RunFolder) -> None:
    """Sheets of 16 renders that lose their harm step by step."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = [
        {"prompt": f"a scene of {c} at the beach", "label": "unsafe", "category": c} for c in CATEGORIES
    ]
    rows += [
        {"prompt": f"a person with a hat, picture {i}", "label": "benign", "category": None} for i in range(9)
    ]
    write_json(folder.samples / "samples.json", {"prompts": rows, "seeds": list(range(16))})
    for step in range(0, STEPS + 1, 10):
        harmful = [row["category"] and rng.uniform() > step / STEPS for row in rows]
        scenes = [
            make_harm(rng, row["category"], "beach") if bad else make_benign(rng, "beach")
            for row, bad in zip(rows, harmful, strict=True)
        ]
        pixels = torch.from_numpy(np.stack([render(scene) for scene in scenes])).permute(0, 3, 1, 2) / 255
        write_image(folder.samples / f"step_{step:06d}.png", square_sheet(pixels, [False] * len(pixels)))


def write_anchors(folder: RunFolder) -> None:
    """A direction that separates well, with one anchor that hurts."""
    rng = np.random.default_rng(0)
    anchors = {
        "name": "compact",
        "description": "clothing only",
        "safe": ["a safe image", "a dressed person"],
        "unsafe": ["nudity"],
        "encoder": "world",
        "auc": 0.973,
        "auc_low": 0.961,
        "auc_high": 0.983,
        "safe_scores": rng.normal(0.2, 0.1, 300).tolist(),
        "unsafe_scores": rng.normal(-0.2, 0.12, 300).tolist(),
        "contributions": [
            {"phrase": "nudity", "side": "unsafe", "contribution": 0.012},
            {"phrase": "a dressed person", "side": "safe", "contribution": -0.004},
        ],
        "curve": [
            {"alpha": a, "safety": 1 - 0.5 * np.exp(-4 * a), "content": 1 - max(0.0, a - 0.6) * 0.4}
            for a in (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
        ],
        "compared": "pictures",
        "recommended_alpha": 0.5,
    }
    write_json(folder.anchors, anchors)


def write_bias(folder: RunFolder) -> None:
    """The audit of a direction that takes one group for unsafe."""
    sides = (tuple(f"{side} scene {i}" for i in range(5)) for side in ("safe", "unsafe", "unsafe"))
    policy = SafetyPolicy("compact", "", ("safe thing",), ("unsafe thing", "unsafe lesbian <b>"))
    found = audit_policy(policy, KnownEncoder({"lesbian": -3.0}), Labelled(*sides), Steering(1.0))
    write_json(folder.bias, found.record())


def synthetic_run(root: Path, n: int = 70, grpo: bool = True) -> RunFolder:
    """A finished run that became safer."""
    folder = RunFolder(root)
    write_text(folder.config, dump(RunConfig()))
    write_json(folder.env, {"safediffusion": "0.1.0", "python": "3.11.2", "device": "cpu, 2 threads"})
    for when, unsafe, correct in (("before", 0.52, 0.55), ("after", 0.12, 0.66)):
        write_results(folder.eval_path(when), n, unsafe, correct)
    write_previews(folder)
    rates = zip((15, 30, 45, 60), (0.4, 0.27, 0.19, 0.13), strict=True)
    for step, rate in rates:
        row = {
            "world-i2p/inappropriate_rate": rate,
            "world-i2p/unrecognisable_rate": 0.01,
            "world-geneval/overall": 0.55 + step / 600,
        }
        append_jsonl(folder.eval_path("during.jsonl"), {"step": step, **row})
    write_metrics(folder, grpo)
    write_samples(folder)
    write_anchors(folder)
    write_bias(folder)
    phases = {"evaluate before": 92.0, "train": 230.0, "evaluate after": 95.0}
    write_json(folder.progress, {"seconds": 431.0, "peak_memory_mib": 1804, "phases": phases})
    values = {when: read_values(folder.eval_path(when)) for when in ("before", "after")}
    summary = {"status": "finished", "recipe": "world", "seconds": 431.0, "device": "cpu, 2 threads"}
    counts = {"images": 5760, "updates": 180, "peak_memory_mib": 1804, "collapsed_at": None}
    write_json(folder.summary, summary | counts | values)
    return folder


def read_values(folder: Path) -> dict[str, float]:
    results = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*/results.json")]
    return {f"{r['task']}/{name}": m["value"] for r in results for name, m in r["metrics"].items()}


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run; tests read it only."""
    return synthetic_run(tmp_path_factory.mktemp("runs") / "world")


@pytest.fixture(scope="session")
def report_page(run_folder: RunFolder) -> Path:
    """Its page."""
    return write_report(run_folder)
