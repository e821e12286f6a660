"""World: a small text-to-image model with its own CLIP and judges, trained by this project."""

from pathlib import Path

ASSETS = Path(__file__).parent / "assets"


def asset(name: str) -> Path:
    """Folder of a shipped network: pipeline, reward, observer, harm-judge or parts-judge."""
    return ASSETS / name
