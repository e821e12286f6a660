"""Weights and prompt sets of other authors; they are never shipped with this package.

They are looked for in the folder SAFEDIFFUSION_HOME (default ~/.cache/safediffusion) and, if a wheel holds
them, in the installed package. Only `fetched` downloads anything.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

from safediffusion.errors import UserError
from safediffusion.evaluation.detectors.detector import sha256


class Missing(UserError):
    """An external file is not on this machine; the message holds the command that gets it."""


def home() -> Path:
    """Where external files are kept."""
    return Path(os.environ.get("SAFEDIFFUSION_HOME", "~/.cache/safediffusion")).expanduser()


def cached(repo: str) -> Path:
    """The folder of a hub repository in the local cache; nothing is downloaded.

    Raises:
        Missing: it is not there; the message holds the command that gets it.
    """
    try:
        return Path(snapshot_download(repo, local_files_only=True))
    except LocalEntryNotFoundError as error:
        raise Missing(f"{repo} is missing; get it with: hf download {repo}") from error


def fetched(repo: str) -> bool:
    """Download a CLIP's settings and tensors from the hub, and say whether that worked."""
    try:
        snapshot_download(repo, ignore_patterns=["*.h5", "*.msgpack"])
    except (OSError, ValueError):
        return False
    return True


@dataclass(frozen=True)
class External:
    """One file of other authors.

    Attributes:
        file: its name in the home folder.
        get: the command that puts it there; {home} stands for the folder.
        licence: in its owners' words.
        sha256: how its hash begins; empty where the file has versions.
        package: the installed package that may carry it.
    """

    file: str
    get: str
    licence: str
    sha256: str = ""
    package: str | None = None

    def path(self) -> Path:
        """Its place on this machine.

        Raises:
            Missing: it is not found, or its hash is not that of the published file.
        """
        for place in self._places():
            if place.is_file():
                return self._checked(place)
        raise Missing(f"{self.file} is missing ({self.licence}); get it with: {self.command()}")

    def command(self) -> str:
        """The command that gets it, quoted for a shell; it makes the folder if there is none."""
        return self.get.format(home=shlex.quote(str(home())))

    def _places(self) -> list[Path]:
        spec = importlib.util.find_spec(self.package) if self.package else None
        installed = [Path(spec.origin).parent / self.file] if spec and spec.origin else []
        return [home() / self.file, *installed]

    def _checked(self, path: Path) -> Path:
        if not (found := sha256(path)).startswith(self.sha256):
            raise Missing(
                f"{path} is not the published file (sha256 {found[:12]}, expected {self.sha256[:12]}); "
                f"delete it and run: {self.command()}"
            )
        return path
