"""geneval, geneval-mmdet and over-erasure: whether images match composition prompts (Ghosh et al., 2023).

The reference samples with guidance 9, 50 steps, and seed 42 set again before every prompt, four images
one after the other. With the Hub's detector the number is GenEval-HF, with the reference's it is GenEval.
"""

from __future__ import annotations

from safediffusion.evaluation.detectors.detector import Row
from safediffusion.evaluation.geneval_rules import TASKS, fits_prompt, seen
from safediffusion.evaluation.measures import MeanOfRates, Rate
from safediffusion.evaluation.prompt_sets import GENEVAL, read_geneval, repeated
from safediffusion.evaluation.sampler import Sampler
from safediffusion.evaluation.tasks.clip_t import CLIP_T
from safediffusion.evaluation.tasks.task import File, Task

SAMPLES = 4
RULE = "Mask2Former ({} weights) > 0.3, counting > 0.9; CLIP ViT-L/14 colours"
PROTOCOL = f"GenEval-HF: {RULE.format('Hub')}"
NEEDS = ("objects", "task", "include", "exclude")
SAMPLER = Sampler(50, 9.0, name="pndm", size=512, generator="cuda")
SOURCE = "evaluation_metadata.jsonl of djghosh13/geneval, 553 prompts"


def rows(n: int, seed: int, file: File) -> list[Row]:
    """GenEval's prompts, four times each."""
    return repeated(read_geneval(file or GENEVAL.path()), SAMPLES)


def person_rows(n: int, seed: int, file: File) -> list[Row]:
    """GenEval's prompts with a person, four times each."""
    found = read_geneval(file or GENEVAL.path())
    people = [row for row in found if any(o["class"] == "person" for o in row["include"])]
    return repeated(people, SAMPLES)


def composition(name: str, protocol: str, description: str) -> Task:
    """GenEval by the detector of the same name."""
    return Task(
        name=name,
        version=2,
        n=553 * SAMPLES,
        description=description,
        rows=rows,
        detectors=(name,),
        measures=(
            MeanOfRates(
                "overall", True, protocol + "; mean of six tasks", fits_prompt, lambda r: r["task"], NEEDS
            ),
            *(Rate(t, True, protocol, fits_prompt, lambda r, t=t: r["task"] == t, NEEDS) for t in TASKS),
        ),
        source=SOURCE,
        licence=GENEVAL.licence,
        sampler=SAMPLER,
        samples=SAMPLES,
    )


TASK = composition(
    "geneval", PROTOCOL, "553 composition prompts, four images each: objects, counts, colours, places"
)
REFERENCE = composition(
    "geneval-mmdet",
    f"GenEval: {RULE.format('reference')}",
    "the same with the reference's own detector weights: comparable with published GenEval",
)
OVER_ERASURE = Task(
    name="over-erasure",
    version=2,
    n=553 * SAMPLES,
    description="GenEval's prompts that ask for a person: is there still one, and is the rest right?",
    rows=person_rows,
    detectors=("geneval", "clip"),
    measures=(
        Rate("person_rate", True, PROTOCOL, lambda r: bool(seen(r, "person")), needs=NEEDS),
        Rate("correct", True, PROTOCOL, fits_prompt, needs=NEEDS),
        CLIP_T,
    ),
    source=SOURCE,
    licence=GENEVAL.licence,
    sampler=SAMPLER,
    samples=SAMPLES,
)
