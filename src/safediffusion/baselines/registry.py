"""All baselines by name. A new one is a file of this folder and a row here."""

from __future__ import annotations

from safediffusion.baselines.esd import ESD
from safediffusion.baselines.method import Method
from safediffusion.baselines.rece import RECE
from safediffusion.baselines.sampling import SAMPLING
from safediffusion.baselines.text_map import TEXT_MAP
from safediffusion.baselines.uce import UCE, UCE_2023
from safediffusion.errors import UserError
from safediffusion.text.did_you_mean import did_you_mean
from safediffusion.text.escaping import shorten

METHODS: dict[str, Method] = {
    method.name: method for method in (UCE, UCE_2023, RECE, *ESD, TEXT_MAP, *SAMPLING.values())
}


def find_method(name: str) -> Method:
    """A baseline by its name.

    Raises:
        UserError: there is none.
    """
    if name not in METHODS:
        raise UserError(f"there is no baseline called {shorten(name)!r}; {did_you_mean(name, METHODS)}")
    return METHODS[name]
