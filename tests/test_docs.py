"""The pages of docs/ stay true: generated ones are current, commands parse, settings exist, links resolve."""

import importlib.util
import re
import shlex
from pathlib import Path
from typing import Any

import gallery
import pytest
import yaml
from typer.main import get_command

from safediffusion.cli.commands import app
from safediffusion.cli.lookups import GROUPS
from safediffusion.config import dotted_keys, list_recipes, load_config, recipe_path
from safediffusion.evaluation.tasks import get_task, user_prompts
from safediffusion.steering.anchors import load_safety_policy

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
WRITTEN = [page for page in PAGES if page.name not in ("settings.md", "commands.md")]
README = ROOT / "README.md"
ABOUT = [README, *(ROOT / f"{name}.md" for name in ("CONTRIBUTING", "CHANGELOG", "SECURITY"))]
FENCE = re.compile(r"^```(\w*)(?: title=\"([^\"]+)\")?\n(.*?)^```", re.MULTILINE | re.DOTALL)
IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
FILES = ("json", "jsonl", "csv", "txt", "md", "py", "yaml", "yml", "html", "png", "safetensors")
LOOK_UP = {
    ("recipes", "show"): recipe_path,
    ("recipes", "copy"): recipe_path,
    ("tasks", "show"): get_task,
    ("anchors", "show"): load_safety_policy,
}


def each(pages: list[Path]) -> Any:
    return pytest.mark.parametrize("page", pages, ids=lambda page: str(page.relative_to(ROOT)))


def commands(text: str) -> list[list[str]]:
    """The words of every `safediffusion ...` in a page, in fences and in the running text."""
    fences = [body for kind, _, body in FENCE.findall(text) if kind in ("", "bash")]
    lines = "\n".join(fences).replace("\\\n", " ").splitlines()
    lines += re.findall(r"`(safediffusion [^`]+)`", FENCE.sub("", text))
    found = (re.search(r"(?:^|\s)safediffusion (.+)$", line) for line in lines)
    return [shlex.split(match[1], comments=True) for match in found if match]


def parse(words: list[str]) -> None:
    """Parse as the command line does, without running anything."""
    command: Any = get_command(app)
    if words[0].startswith("-"):
        assert words[0] in {option for each in command.params for option in each.opts}, words[0]
        return
    for depth, name in enumerate(words, 1):
        assert name in command.commands, f"there is no command {' '.join(words[:depth])}"
        command = command.commands[name]
        if not hasattr(command, "commands"):
            break
    context = command.make_context(" ".join(words[:depth]), words[depth:])
    check_names(tuple(words[:depth]), context.params)


def check_names(command: tuple[str, ...], values: dict[str, Any]) -> None:
    """Recipes, settings, tasks and policies that a command names exist."""
    if command == ("train",):
        given = values["words"] or []
        source = given[0] if given and "=" not in given[0] else None
        load_config(source, given[1:] if source else given)
    for name in filter(str.strip, (values.get("names") or "").split(",")) if command == ("evaluate",) else ():
        if ":" not in name:  # pkg.mod:NAME is the reader's own
            assert get_task(name).rows is not user_prompts.rows or values["prompts"], (
                f"{name} needs --prompts"
            )
    if command in LOOK_UP and not values["name"].isupper() and ":" not in values["name"]:
        LOOK_UP[command](values["name"])


def slug(heading: str) -> str:
    """A heading's anchor, as mkdocs makes it."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading.replace("`", "")).strip().lower())


def anchors(page: Path) -> set[str]:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


def nav(entry: Any) -> list[str]:
    """The pages under an entry of mkdocs.yml."""
    if isinstance(entry, str):
        return [entry]
    children = entry.values() if isinstance(entry, dict) else entry
    return [page for child in children for page in nav(child)]


def test_generated_pages_are_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("reference", DOCS / "reference.py")
    assert spec and spec.loader
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    for path, text in reference.pages().items():
        assert path.read_text(encoding="utf-8") == text, "run: python docs/reference.py"


def test_the_gallery_says_what_every_recipe_is_and_needs() -> None:
    for name in list_recipes():
        found = gallery.read(name)
        assert found.what.endswith(".") and found.commands and found.needs, name
        assert found.expect or name == "world-ddpo", name  # that one says it with what it needs


def test_a_header_is_read_in_parts() -> None:
    parts = (
        "A model.",
        "    safediffusion train a",
        "Needs (estimate): 8 GB. Expect: little.",
        "More.\n#   lr  low",
    )
    text = "#\n".join(f"# {part}\n" for part in parts)
    assert gallery.header(f"{text}model:\n  # no header\n") == gallery.Header(
        "A model.", ["safediffusion train a"], "(estimate) 8 GB.", "little.", ["More.", "", "- `lr`: low", ""]
    )


def test_navigation_has_every_page_once() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(nav(site["nav"])) == sorted(str(page.relative_to(DOCS)) for page in PAGES)


def test_the_site_is_published_as_make_builds_it() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/docs.yml").read_text(encoding="utf-8"))
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert "make docs" in [step.get("run") for step in steps]
    assert all(re.search(r"@v\d+$", step["uses"]) for step in steps if "uses" in step)
    assert workflow["permissions"] == {"contents": "read"}  # the job that publishes has more, and no other
    assert [name for name, job in workflow["jobs"].items() if "permissions" in job] == ["deploy"]


@each(PAGES)
def test_internal_links_resolve(page: Path) -> None:
    for link in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target in PAGES, link
        assert not anchor or anchor in anchors(target), link


@each(PAGES)
def test_images_are_there_and_described(page: Path) -> None:
    for description, name in IMAGE.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        assert (page.parent / name).is_file() and len(description) > 20, name


@each(ABOUT)
def test_links_of_the_repository_s_own_pages_name_files_in_it(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text(encoding="utf-8"))):
        assert "://" in link or (page.parent / link.partition("#")[0]).exists(), link


@each([*WRITTEN, *ABOUT])
def test_commands_parse_and_name_what_exists(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    for _, title, body in FENCE.findall(text):
        if title:
            Path(title).write_text(body, encoding="utf-8")
    for words in commands(text):
        parse(words)


def test_commands_are_found_and_wrong_ones_noticed() -> None:
    fence = "```\nx=1 safediffusion train wrld  # a\nsafediffusion export R --too lora\n```\n"
    text = f"`safediffusion doctor`\n{fence}"
    found = commands(text)
    assert found == [["train", "wrld"], ["export", "R", "--too", "lora"], ["doctor"]]
    for words in found[:2]:
        with pytest.raises(Exception, match=r"did you mean world|--too"):
            parse(words)
    assert set(GROUPS) <= set(get_command(app).commands)  # pyright: ignore[reportAttributeAccessIssue]


@each(PAGES)
def test_settings_in_the_text_exist(page: Path) -> None:
    keys = dotted_keys()
    sections = {key.partition(".")[0] for key in keys if "." in key}
    for word in re.findall(r"`-?(\w+\.\w+)(?:=[^`]*)?`", FENCE.sub("", page.read_text(encoding="utf-8"))):
        section, _, name = word.partition(".")
        if section in sections and name not in FILES:
            assert word in keys, word


@each(WRITTEN)
def test_yaml_blocks_are_valid_recipes(page: Path, tmp_path: Path) -> None:
    for kind, _, body in FENCE.findall(page.read_text(encoding="utf-8")):
        if kind != "yaml":
            continue
        (tmp_path / "block.yaml").write_text(body, encoding="utf-8")
        if "unsafe" in yaml.safe_load(body):
            load_safety_policy(str(tmp_path / "block.yaml"))
        else:
            load_config(tmp_path / "block.yaml", [])
