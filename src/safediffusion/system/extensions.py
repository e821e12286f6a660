"""Code of the user's own, named as `pkg.mod:NAME` where a shipped name is expected."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from safediffusion.errors import UserError


def load_object(path: str, setting: str) -> Any:
    """The object that `pkg.mod:NAME` names; modules in the working folder are found too.

    Args:
        path: module and name, with a colon between them.
        setting: name of the setting, for the error message.

    Raises:
        UserError: the module cannot be imported, or has no such name.
    """
    module, _, name = path.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"{setting} is {path}, which cannot be imported: {error}; write it as pkg.mod:NAME, with the "
            "folder of pkg on PYTHONPATH or as the working folder"
        ) from error
