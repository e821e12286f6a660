"""Every Python block of the README and of docs/ runs, page by page, in one namespace and an empty folder.

A block that cannot run has <!-- test: compile, REASON --> on the line above it, and is compiled only.
Models that a page names are tiny pipelines of the same class; `train` does two rounds with tiny settings.
"""

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

import safediffusion
from safediffusion.config import RunConfig
from tests.pipelines import tiny_pipeline
from tests.test_docs import README, ROOT, WRITTEN

BLOCK = re.compile(
    r"(?:^<!-- test: (?P<word>\w+)(?:, (?P<reason>[^>]+?))? -->\n)?"
    r"^```(?P<kind>\w*)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<body>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
PAGES = [*WRITTEN, README, ROOT / "CONTRIBUTING.md"]


@dataclass(frozen=True)
class Block:
    """A fenced block; `runs` is false where the page says that it is compiled only."""

    kind: str
    body: str
    line: int
    title: str | None
    runs: bool


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    for match in BLOCK.finditer(text):
        if match["word"]:
            assert match["word"] == "compile" and match["reason"], "write <!-- test: compile, REASON -->"
        line = text.count("\n", 0, match.start("body"))
        yield Block(match["kind"], match["body"], line, match["title"], not match["word"])


def run_blocks(text: str, name: str) -> dict[str, Any]:
    """Run the Python blocks in the working folder; returns their namespace.

    Blocks with a title are files of that name, all of them there before the first block runs. Errors show the
    line of the page.
    """
    found = list(blocks(text))
    for block in found:
        if block.title:
            Path(block.title).write_text(block.body, encoding="utf-8")
    namespace: dict[str, Any] = {"__name__": "page"}
    for block in found:
        if block.kind == "python":
            code = compile("\n" * block.line + block.body, name, "exec")
            if block.runs:
                exec(code, namespace)
    return namespace


def save_tiny_models() -> None:
    """The model folders and the adapters that pages name, of tiny networks."""
    pipe = tiny_pipeline()
    for folder in ("my-model", "sd14-diffusers", "CompVis/stable-diffusion-v1-4"):
        pipe.save_pretrained(folder)
    pipe.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"]))
    weights = {f"unet.{key}": value for key, value in get_peft_model_state_dict(pipe.unet).items()}
    from safetensors.torch import save_file

    Path("sd14-lora-12gb-lora").mkdir()
    for path in ("style.safetensors", "sd14-lora-12gb-lora/pytorch_lora_weights.safetensors"):
        save_file(weights, path)


def tiny(config: RunConfig) -> RunConfig:
    """The settings of a page with the sizes of a test, and nothing that has to be downloaded."""
    values = config.model_dump()
    values["model"] |= {"path": "my-model", "resolution": None, "dtype": "fp32", "storage": "fp32"}
    values["reward"] |= {"kind": "tests.cli.rewards:brightness", "also": []}
    values["rollout"] |= {"steps": 2, "group_size": 2, "prompts": 2, "neighbours": 0.0}
    values["train"] |= {"steps": 2, "updates": 1, "lora_rank": 0}
    values["evaluate"] |= {"tasks": [], "steps": 2}
    return RunConfig.model_validate(values)


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working folder with tiny models in it, and a `train` that takes seconds."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    save_tiny_models()
    real: Callable[..., Any] = safediffusion.train
    monkeypatch.setattr(
        safediffusion, "train", lambda config, **rest: real(tiny(config), **rest), raising=False
    )


@pytest.fixture
def forget_modules() -> Iterator[None]:
    """Modules that a page's files add are imported anew by the next page."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if not name.startswith(("safediffusion", "tests", "torch", "diffusers", "transformers", "peft")):
            del sys.modules[name]


def has_python(page: Path) -> bool:
    return any(block.kind == "python" for block in blocks(page.read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", filter(has_python, PAGES), ids=lambda page: str(page.relative_to(ROOT)))
def test_python_blocks_of_a_page_run(page: Path, stand_ins: None, forget_modules: None) -> None:
    run_blocks(page.read_text(encoding="utf-8"), str(page))


def test_a_block_with_an_error_fails_with_its_line_in_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ZeroDivisionError) as error:
        run_blocks("text\n\n```python\nx = 1\nx / 0\n```\n", "page.md")
    assert error.traceback[-1].lineno == 4  # counted from 0


def test_a_marked_block_is_compiled_and_a_marker_needs_a_reason() -> None:
    marked = "<!-- test: compile, needs weights -->\n```python\nmissing()\n```\n"
    assert "missing" not in run_blocks(marked, "page.md")
    with pytest.raises(SyntaxError):
        run_blocks(marked.replace("missing()", "missing("), "page.md")
    for wrong in (", needs weights", "compile"):
        with pytest.raises(AssertionError, match="REASON"):
            run_blocks(marked.replace(wrong, "skip" if wrong == "compile" else ""), "page.md")


def test_all_python_blocks_are_found_whatever_the_fence_looks_like() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        fences = re.findall(r"^[ \t]*(?:```|~~~)[ \t]*(?:python|py)\b", text, re.MULTILINE)
        assert len(fences) == sum(block.kind == "python" for block in blocks(text)), page
