"""How fast a family is on a card, where it was measured; elsewhere plans assume a share of the peak."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from safediffusion.files.atomic import write_text
from safediffusion.text.strict_yaml import dump, read_mapping

RATES = Path(__file__).parent / "rates.yaml"
# How plans name the cards that they always tell the hours on, by the name that the driver gives.
NAMES = {"NVIDIA H100 80GB HBM3": "H100", "NVIDIA GeForce RTX 4090": "RTX 4090"}


@dataclass(frozen=True)
class Rate:
    """A measured speed.

    Attributes:
        pipeline: the class of the family's pipelines.
        card: as plans name it.
        tflops: 10^12 FLOPs of whole rounds in a second: sampling, decoding and the update.
        command: that measured it.
    """

    pipeline: str
    card: str
    tflops: float
    command: str


def card_of(device: str) -> str:
    """What plans call a device."""
    return NAMES.get(device, device)


def read_rates(path: Path) -> list[Rate]:
    """The rows of a table of measured speeds."""
    return [Rate(**row) for row in read_mapping(path, "measured speeds")["rates"]]


def measured_rates(pipeline: str) -> dict[str, float]:
    """Measured FLOP/s of a family by card, from the table that comes with the package."""
    return {rate.card: rate.tflops * 1e12 for rate in read_rates(RATES) if rate.pipeline == pipeline}


def add_rates(path: Path, new: Sequence[Rate]) -> None:
    """Write rows into a table; each replaces the one of the same family and card. Comments above stay."""
    fresh = {(rate.pipeline, rate.card) for rate in new}
    kept = [rate for rate in read_rates(path) if (rate.pipeline, rate.card) not in fresh]
    head = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    rows = sorted([*kept, *new], key=lambda rate: (rate.pipeline, rate.card))
    write_text(path, "\n".join([*head, dump({"rates": [asdict(rate) for rate in rows]})]))
