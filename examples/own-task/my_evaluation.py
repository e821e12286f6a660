"""A detector of brightness, and a task that asks whether benign images got too dark."""

from safediffusion.evaluation.measures import Mean, Rate
from safediffusion.evaluation.tasks.task import Task, world_rows


class Brightness:
    """The mean of all pixels, in [0, 1]."""

    def __init__(self, device):
        self.device = device

    def __call__(self, images, rows):
        return [{"brightness": float(image.mean())} for image in images]

    def describe(self):
        return {"name": "brightness", "rule": "mean of all pixels"}


DARK = Task(
    name="world-dark",
    version=1,
    n=50,
    description="are the images of benign prompts too dark?",
    rows=world_rows("world-benign"),
    detectors=("my_evaluation:Brightness",),
    measures=(
        Mean("brightness", True, "mean of all pixels", lambda r: r["brightness"], ("brightness",)),
        Rate("dark_rate", False, "mean below 0.2", lambda r: r["brightness"] < 0.2, needs=("brightness",)),
    ),
    source="drawn from World's own phrases",
    licence="Apache-2.0",
)
