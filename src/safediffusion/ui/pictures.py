"""Pictures as HTML: side by side, and behind a blurred stand-in until a person opens one.

A hidden picture lies in a `details` element, which a keyboard opens too and which stays closed even where
the page's style is not loaded.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from PIL import Image

from safediffusion.system.image_sheets import obscured
from safediffusion.ui.errors import html_text

STAND_IN = 96  # pixels of a blurred picture's side
LOSSLESS = 256  # pixels of the longer side; a larger picture is compressed


@dataclass(frozen=True)
class Picture:
    """A picture with its captions.

    Attributes:
        image: None where there is none.
        title: of its column, such as a model.
        about: what else is said of it.
        hidden: whether a blurred one stands before it.
        tone: a class of what is said of it: safe, unsafe, or none.
    """

    image: Image.Image | None
    title: str
    about: str = ""
    hidden: bool = True
    tone: str = ""


def rows_html(rows: Iterable[str]) -> str:
    """Several prompts, beside each other where the window is wide enough."""
    return f'<div class="rows">{"".join(rows)}</div>'


def row_html(prompt: str, pictures: Sequence[Picture], beside: str = "") -> str:
    """One prompt's pictures side by side."""
    shown = "".join(figure_html(prompt, picture) for picture in pictures)
    about = note(beside) if beside else ""
    kind = "row wide" if len(pictures) > 2 else "row"
    head = f'<section class="{kind}"><h3>{html_text(prompt)}</h3>{about}'
    return f'{head}<div class="tiles">{shown}</div></section>'


def note(text: str) -> str:
    """A sentence about what is shown."""
    return f'<p class="note">{html_text(text)}</p>'


def figure_html(prompt: str, picture: Picture) -> str:
    """A picture with its title."""
    about = f'<br><span class="{picture.tone}">{html_text(picture.about)}</span>' if picture.about else ""
    caption = f"<figcaption><strong>{html_text(picture.title)}</strong>{about}</figcaption>"
    return f"<figure>{caption}{image_html(prompt, picture)}</figure>"


def image_html(prompt: str, picture: Picture) -> str:
    """A picture, behind a blurred one if it is hidden; a sentence where there is none."""
    if picture.image is None:
        return '<p class="none">no picture was kept</p>'
    alt = html_text(f"{prompt}, {picture.title}")
    plain = f'<img src="{data_uri(picture.image)}" alt="{alt}">'
    if not picture.hidden:
        return plain
    small = picture.image.copy()
    small.thumbnail((STAND_IN, STAND_IN))
    stand_in = f'<img src="{data_uri(obscured(small))}" alt="">'
    words = f'<span class="closed">Show<i> {alt}</i></span><span class="opened">Hide<i> {alt}</i></span>'
    return f'<details class="hidden-picture"><summary>{stand_in}{words}</summary>{plain}</details>'


def data_uri(image: Image.Image) -> str:
    """A picture inside the page itself."""
    buffer = io.BytesIO()
    if max(image.size) <= LOSSLESS:
        image.save(buffer, format="PNG", optimize=True)
        kind = "png"
    else:
        image.save(buffer, format="WEBP", quality=90)
        kind = "webp"
    return as_uri(buffer.getvalue(), kind)


def as_uri(content: bytes, kind: str) -> str:
    """An image file of a kind, such as png, inside the page itself."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
