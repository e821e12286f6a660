"""A pipeline in a subfolder of a repository of the hub, OWNER/NAME/SUBFOLDER, as a local folder."""

from __future__ import annotations

import re
from pathlib import Path

from huggingface_hub import snapshot_download

from safediffusion.diffusion.trust import UNREADABLE, reason
from safediffusion.errors import UserError

PLACE = re.compile(r"(?P<repo>\w[\w.-]*/\w[\w.-]*)/(?P<inner>\w[\w.-]*(/\w[\w.-]*)*)")
WANTED = ("json", "txt", "model", "jinja", "safetensors")  # endings of what is read; no pickle among them


def local_folder(source: str) -> str:
    """The folder that OWNER/NAME/SUBFOLDER is downloaded to; what exists here, or is no such name, as it is.

    Raises:
        UserError: the hub does not give it, or has no such subfolder.
    """
    place = PLACE.fullmatch(source)
    if place is None or Path(source).exists():
        return source
    repo, inner = place["repo"], place["inner"]
    try:
        root = snapshot_download(repo, allow_patterns=[f"{inner}/*.{ending}" for ending in WANTED])
    except UNREADABLE as error:
        raise UserError(
            f"{source} does not exist here, and could not be had from the hub as {inner} of {repo}: "
            f"{reason(error)} Check the path, or download it with: hf download {repo} --include '{inner}/*'"
        ) from error
    folder = Path(root, inner)
    if not folder.is_dir():
        raise UserError(
            f"{repo} on the hub has no folder {inner} with a pipeline in safetensors; check the name"
        )
    return str(folder)
