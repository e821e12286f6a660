"""`safediffusion export --push REPO`: an export on the Hugging Face Hub, in a private repository."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from safediffusion.errors import RunError, UserError
from safediffusion.text.first_line import first_line


def check_push(repo: str) -> None:
    """Refuse an impossible name, and a machine without a token, before anything is written."""
    from huggingface_hub import get_token
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UserError(
            f"--push {repo!r} is not the name of a repository ({error}); give OWNER/NAME"
        ) from error
    if get_token() is None:
        raise UserError(
            f"--push {repo} needs a token of the Hugging Face Hub that may write; "
            "log in with: hf auth login, or set HF_TOKEN"
        )


def push(export: Path, card: str | None, repo: str) -> str:
    """Upload an export and return its address.

    A new repository is private. An existing one keeps its visibility, and the files that the export does not
    have.

    Args:
        export: a folder, or a single file.
        card: README.md to put beside a single file; a folder has its own.
        repo: OWNER/NAME, or NAME for the token's own account.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError

    api = HfApi()
    try:
        made = api.create_repo(repo, private=True, exist_ok=True)
        if export.is_dir():
            api.upload_folder(repo_id=made.repo_id, folder_path=export)
        else:
            api.upload_file(repo_id=made.repo_id, path_or_fileobj=export, path_in_repo=export.name)
            if card:
                api.upload_file(repo_id=made.repo_id, path_or_fileobj=card.encode(), path_in_repo="README.md")
    except (OSError, HTTPError) as error:  # the second where the network does not answer
        raise RunError(
            f"{export} was written but not pushed: {first_line(error)} "
            f"Push it again with: hf upload --private {repo} {quote(str(export))}"
        ) from error
    return str(made)
