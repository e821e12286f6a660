"""Rewards that a server computes: images go out as PNG, prompts as JSON, and one number per image comes back.

    POST {"images": ["iVBORw0...", ...], "prompts": ["a red square", ...]}  ->  {"rewards": [0.31, ...]}

Nothing that is received can run code: it is JSON, and only numbers are taken from it.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import torch
from torch import Tensor

from safediffusion.errors import RunError, UserError
from safediffusion.system.image_sheets import to_pil
from safediffusion.text.escaping import shorten
from safediffusion.text.first_line import first_line

TOKEN = "SAFEDIFFUSION_REWARD_TOKEN"
BUSY = (429, 500, 502, 503, 504)  # answers after which another try may help
LONGEST_PAUSE = 30.0
LARGEST_ANSWER = 2**24  # bytes; 100,000 numbers need a tenth

log = logging.getLogger(__name__)


class _NoRedirect(HTTPRedirectHandler):
    """Images go to the address in the settings and nowhere else."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class HttpReward:
    """The reward of a server.

    Every process of a run sends the images of its own share. The environment variable
    SAFEDIFFUSION_REWARD_TOKEN, where it is set, is sent as a bearer token and never written into a file.

    Args:
        url: http:// or https://, without a user name or password.
        timeout: seconds that one request may take.
        retries: further tries after a connection that failed or a server that was busy.
        batch_size: images per request.

    Raises:
        UserError: the address cannot be used.
    """

    def __init__(self, url: str, *, timeout: float = 60.0, retries: int = 5, batch_size: int = 96) -> None:
        self.url, self.timeout, self.retries, self.batch_size = checked(url), timeout, retries, batch_size
        self.pause = 1.0  # seconds before the second try; every further pause is twice as long
        self._open = build_opener(_NoRedirect).open

    @classmethod
    def of(cls, url: str, options: Mapping[str, Any], batch_size: int) -> HttpReward:
        """From the settings `reward.kind`, `reward.options` and `reward.batch_size`.

        Raises:
            UserError: the address or an option cannot be used.
        """
        if unknown := sorted(set(options) - {"timeout", "retries"}):
            raise UserError(
                f"reward.options.{unknown[0]} is not an option of a reward behind an address; set timeout "
                "(seconds), retries, or neither"
            )
        timeout, retries = options.get("timeout", 60.0), options.get("retries", 5)
        if not _is_number(timeout) or not 0 < timeout <= 86_400:
            raise UserError(f"reward.options.timeout is {timeout!r}; set seconds above 0, one day at most")
        if not isinstance(retries, int) or isinstance(retries, bool) or not 0 <= retries <= 100:
            raise UserError(f"reward.options.retries is {retries!r}; set a whole number from 0 to 100")
        return cls(url, timeout=float(timeout), retries=retries, batch_size=batch_size)

    def check(self) -> None:
        """Have one grey image scored, so that a server that is not there is found before hours are spent.

        Raises:
            UserError: the server does not answer, or not with one number.
        """
        try:
            self(torch.full((1, 3, 64, 64), 0.5), ["a grey square"])
        except RunError as error:
            raise UserError(str(error)) from error

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores (n,) float32 of images (n, 3, h, w) in [0, 1] and their n prompts.

        Raises:
            RunError: the server did not answer, however often it was asked.
            UserError: it refused the request, or answered something else than one number per image.
        """
        rewards: list[float] = []
        for first in range(0, len(images), self.batch_size):
            last = first + self.batch_size
            rewards += self._score(images[first:last], list(prompts[first:last]))
        return torch.tensor(rewards, dtype=torch.float32, device=images.device)

    def _score(self, images: Tensor, prompts: list[str]) -> list[float]:
        body = json.dumps({"images": [encoded(image) for image in images], "prompts": prompts}).encode()
        answer = self._ask(body)
        try:
            rewards = json.loads(answer)["rewards"]
        except (ValueError, TypeError, KeyError, RecursionError):
            rewards = None
        if not isinstance(rewards, list) or len(rewards) != len(prompts) or not all(map(_is_number, rewards)):
            got = shorten(answer[:200].decode(errors="replace"))
            raise UserError(
                f'{self.url} has to answer {{"rewards": [one number per image]}}, {len(prompts)} of them; '
                f"its answer was {got!r}"
            )
        return [float(reward) for reward in rewards]

    def _ask(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json"}
        if token := os.environ.get(TOKEN):
            headers["Authorization"] = f"Bearer {token}"
        request = Request(self.url, body, headers)
        for attempt in range(self.retries + 1):
            try:
                with self._open(request, timeout=self.timeout) as response:
                    return response.read(LARGEST_ANSWER)
            except HTTPError as error:
                why = f"status {error.code}: {shorten(error.read(200).decode(errors='replace').strip())}"
                if error.code not in BUSY:
                    raise UserError(f"{self.url} refused the images, {why}") from error
            except (OSError, HTTPException) as error:  # URLError, timeouts and broken connections
                why = first_line(error)
            if attempt < self.retries:
                pause = min(self.pause * 2**attempt, LONGEST_PAUSE)
                log.warning("%s did not score the images (%s); next try in %.0f s", self.url, why, pause)
                time.sleep(pause)
        raise RunError(
            f"{self.url} did not score the images (tries: {self.retries + 1}; {why}); start the server, or "
            "set reward.options.timeout or reward.options.retries higher, and give the same command again"
        )


def is_address(kind: str) -> bool:
    """Whether a reward is an address and not a name."""
    return "://" in kind


def checked(url: str) -> str:
    """The address, if images can be sent there.

    Raises:
        UserError: with what is wrong.
    """
    try:
        parts = urlsplit(url)
        port = parts.port  # read here, because a wrong one raises
    except ValueError as error:
        raise UserError(f"reward.kind={url} is not an address: {error}") from error
    plain = url.isascii() and url.isprintable() and " " not in url
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or not plain:
        raise UserError(f"reward.kind={url} is not an address; set http://HOST:PORT/PATH or https://...")
    if parts.username is not None or parts.password is not None:
        raise UserError(
            f"reward.kind holds a name or password, which would be written into the run; set {TOKEN} instead"
        )
    return url


def encoded(image: Tensor) -> str:
    """An image (3, h, w) in [0, 1] as PNG in base64."""
    file = io.BytesIO()
    to_pil(image).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
