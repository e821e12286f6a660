"""What `model.path` names as a path of this machine; from the hub only the files that are needed."""

from __future__ import annotations

import glob
import json
import logging
import re
from collections.abc import Collection
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from safediffusion.config.inputs import ModelConfig
from safediffusion.diffusion.trust import UNREADABLE, check_index, reason
from safediffusion.diffusion.weight_files import INDEX, needed
from safediffusion.errors import UserError
from safediffusion.text.escaping import shorten

log = logging.getLogger(__name__)

UNREACHABLE = (*UNREADABLE, HTTPError)
PLACE = re.compile(r"(?P<repo>\w[\w.-]*/\w[\w.-]*)(/(?P<inner>\w[\w.-]*(/\w[\w.-]*)*))?")


def local_path(config: ModelConfig, weights: Collection[str] | None = None) -> Path:
    """A pipeline folder or a file of this machine: what `model.path` names here, or has on the hub.

    Args:
        config: with path, revision and variant.
        weights: parts whose weights are needed; None is all. A pipeline's settings always are.

    Raises:
        UserError: it is neither here nor on the hub, or a revision is set for what is here.
    """
    path = Path(config.path)
    if path.exists():
        if config.revision is not None:
            raise UserError(
                f"model.revision={shorten(config.revision)} is of a repository on the hub, and {path} is on "
                "this machine; set model.revision to null"
            )
        return path
    place = PLACE.fullmatch(config.path)
    if place is None:
        raise UserError(
            f"model.path={path} does not exist; check the path, or set a hub id (OWNER/NAME) or world"
        )
    return from_hub(place["repo"], place["inner"] or "", config, weights)


def from_hub(repo: str, inner: str, config: ModelConfig, weights: Collection[str] | None = None) -> Path:
    """The folder that a pipeline is downloaded to, or the file; without a connection, what is in the cache.

    Args:
        repo: OWNER/NAME.
        inner: of the pipeline or of a .safetensors file in it; "" is the repository's own folder.
        config: with the revision and the variant.
        weights: see `local_path`.

    Raises:
        UserError: the hub does not give it, or holds no such pipeline.
    """
    try:
        listed = HfApi().model_info(repo, revision=config.revision).siblings or []
    except UNREACHABLE as error:
        return from_cache(repo, inner, config, error)
    names = [file.rfilename for file in listed]
    try:
        if inner.endswith(".safetensors"):
            if inner not in names:
                raise UserError(f"{repo} on the hub has no file {inner}; {holds(names)}")
            return Path(hf_hub_download(repo, inner, revision=config.revision))
        prefix = f"{inner}/" if inner else ""
        below = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
        if INDEX not in below:
            raise UserError(f"{repo} on the hub has no pipeline in {inner or 'its folder'}; {holds(names)}")
        index_file = hf_hub_download(repo, prefix + INDEX, revision=config.revision)
        index = json.loads(Path(index_file).read_text(encoding="utf-8"))
        check_index(index, config.path)
        files = [prefix + name for name in needed(below, index, config, weights)]
        root = snapshot_download(repo, revision=config.revision, allow_patterns=list(map(glob.escape, files)))
    except UNREACHABLE as error:
        raise UserError(f"{config.path} could not be downloaded from the hub: {told(error)}") from error
    return Path(root, inner)


def from_cache(repo: str, inner: str, config: ModelConfig, error: BaseException) -> Path:
    """What an earlier download left, where the hub was asked in vain.

    Raises:
        UserError: nothing did; it says why the hub did not answer.
    """
    try:
        found = Path(snapshot_download(repo, revision=config.revision, local_files_only=True), inner)
    except UNREADABLE:
        found = Path()
    single = inner.endswith(".safetensors")
    if found == Path() or not (found if single else found / INDEX).is_file():
        include = f" --include '{inner if single else f'{inner}/*'}'" if inner else ""
        raise UserError(
            f"{config.path} does not exist here, and could not be had from the hub: {told(error)} Check the "
            f"path, or download it where there is a connection: hf download {repo}{include}"
        ) from error
    if not isinstance(error, OfflineModeIsEnabled):
        log.warning("the hub did not answer (%s); %s is taken from its cache", reason(error), config.path)
    return found


def told(error: BaseException) -> str:
    """Why the hub did not give something, and what to do."""
    if isinstance(error, GatedRepoError):
        return "access to it is restricted; accept its terms on its page, and log in with: hf auth login."
    if isinstance(error, RevisionNotFoundError):
        return "it has no such revision; set model.revision to a commit, branch or tag of it."
    if isinstance(error, RepositoryNotFoundError):
        return "there is no such repository, or it is private; for a private one log in with: hf auth login."
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, and it is not in the cache."
    return reason(error)


def holds(names: list[str]) -> str:
    """What of a repository can be loaded, for a message."""
    pipelines = [name.removesuffix(INDEX).rstrip("/") for name in names if name.rpartition("/")[2] == INDEX]
    files = [name for name in names if name.endswith(".safetensors") and "/" not in name]
    found = [f"a pipeline {f'in {name}' if name else 'of its own'}" for name in pipelines]
    found += [f"the file {name}" for name in files]
    return f"it has {', '.join(found[:5])}" if found else "it has neither a pipeline nor a .safetensors file"
