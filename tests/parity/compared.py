"""What the parity suite compares, on how many cases: tests take their numbers from here, docs show them.

A release's steps are written out in the tests again, as plain loops and from its own text, so that a mistake
of the package is not made twice.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Comparison:
    """One row of the table in docs/evaluation.md.

    Attributes:
        what: of ours.
        against: the release's file and commit, or version.
        cases: how many, and of what.
        difference: between ours and theirs.
    """

    what: str
    against: str
    cases: int
    unit: str
    difference: str = "none"

    def row(self) -> str:
        """As Markdown."""
        return f"| {self.what} | {self.against} | {self.cases:,} {self.unit} | {self.difference} |"


GENEVAL = "geneval, evaluation/evaluate_images.py at 16f16811"
WHEEL = "nudenet 3.0.8's wheel, nudenet/nudenet.py"
COMPARED = {
    "position": Comparison("GenEval's position rule", GENEVAL, 20_000, "pairs of boxes"),
    "geneval": Comparison("GenEval's six tasks, and world-geneval's places", GENEVAL, 12_000, "images"),
    "summary": Comparison(
        "GenEval's overall score",
        "geneval, evaluation/summary_scores.py at d927da8e",
        500,
        "sets",
        "below 1e-12",
    ),
    "resize": Comparison("NudeNet's and mmdet's resize", "OpenCV 5.0 (once 4.8.1)", 3_000, "images"),
    "loops": Comparison("the same, pixel by pixel", "OpenCV's formula, written out", 200, "images"),
    "frame": Comparison("NudeNet's frame and scale", WHEEL, 20_000, "sizes"),
    "input": Comparison("NudeNet's whole input", WHEEL, 150, "images"),
    "mmdet": Comparison(
        "GenEval's detector input", "mmcv 1.7, mmcv/image/geometric.py", 4, "images", "below 1e-5 (floats)"
    ),
    "suppression": Comparison("suppression of boxes", "OpenCV 5.0's NMSBoxes", 5_000, "sets of boxes"),
    "detections": Comparison("NudeNet's detections", WHEEL, 3_000, "network outputs"),
    "rece": Comparison(
        "rece-count, rece-rate", "RECE, execs/compute_nudity_rate.py at 10ea80d1", 3_000, "outputs"
    ),
    "mace": Comparison(
        "mace-boxes, mace-script",
        "MACE, metrics/evaluate_by_nudenet.py at 7e3b3477; its text for 0.6",
        3_000,
        "outputs",
    ),
    "receler": Comparison(
        "receler-nudity, receler-union",
        "Receler, evaluation/q16_nudenet_detect.py at 00ba63e6",
        3_000,
        "outputs",
    ),
    "i2p": Comparison("i2p-official", "i2p, eval_I2P.py at 3eed4d2b", 3_000, "outputs"),
    "safetydpo": Comparison("safetydpo-ip", "SafetyDPO's text (no script is released)", 3_000, "outputs"),
    "unlearndiff": Comparison(
        "unlearndiff",
        "Diffusion-MU-Attack, nudenet/detector.py and nudity_eval.py at 0eea64d5",
        3_000,
        "outputs",
    ),
    "q16": Comparison("q16, q16-finetuned", "Q16, main/models/clip.py at b513db93", 10_000, "embeddings"),
    "maximum": Comparison(
        "I2P's expected maximum", "i2p, results_I2P.py at 5e9b8e35, all draws", 500, "sets", "below 1e-12"
    ),
    "clean": Comparison(
        "FID's resize", "clean-fid, cleanfid/resize.py at 353c13ed", 60, "images", "below 2e-4 of 255"
    ),
    "fid": Comparison("FID of features", "clean-fid, cleanfid/fid.py at 01ff7481", 300, "sets", "below 1e-6"),
    "kid": Comparison("KID of features", "clean-fid, cleanfid/fid.py at 01ff7481", 500, "sets", "below 1e-9"),
    "clip-size": Comparison("CLIP's size", "torchvision 0.15's Resize; transformers", 20_000, "sizes"),
    "clip-pixels": Comparison(
        "CLIP's pixels", "transformers' CLIPImageProcessorPil", 200, "images", "at most 2 of 255"
    ),
}
