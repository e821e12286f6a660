"""The source itself: what could run somebody else's code or reach the network stands where the page says."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import safediffusion

ROOT = Path(safediffusion.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))
TEMPLATE = (ROOT / "report" / "page.html.j2").read_text(encoding="utf-8")


def trees() -> Iterator[tuple[str, ast.Module]]:
    for path in SOURCES:
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def name(node: ast.expr) -> str:
    """A call's dotted name, as far as it is one."""
    if isinstance(node, ast.Attribute):
        return f"{name(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def calls(*names: str) -> list[tuple[str, ast.Call]]:
    return [
        (file, node)
        for file, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and name(node.func).endswith(names)
    ]


def constant(call: ast.Call, keyword: str) -> object:
    found = [k.value for k in call.keywords if k.arg == keyword]
    return found[0].value if found and isinstance(found[0], ast.Constant) else None


def importers(*modules: str) -> set[str]:
    found = set()
    for file, tree in trees():
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            found |= {file for n in names if n.split(".")[0] in modules}
    return found


def test_no_text_is_run_as_python_and_no_pickle_is_loaded() -> None:
    built_in = {"eval", "exec", "compile", "__import__"}
    found = {(file, name(call.func)) for file, call in calls("") if name(call.func) in built_in}
    assert not found
    assert not calls("pickle.load", "pickle.loads", "pickle.Unpickler", "joblib.load", "hub.load")
    assert not importers("marshal", "shelve", "dill", "cloudpickle", "joblib", "runpy", "code")


def test_torch_reads_pickles_of_tensors_alone() -> None:
    found = calls("torch.load")
    assert found and all(constant(call, "weights_only") is True for _, call in found)
    assert not [call for _, call in calls("np.load", "numpy.load") if constant(call, "allow_pickle")]


def test_torchscript_is_loaded_in_one_place() -> None:
    assert {file for file, _ in calls("jit.load")} == {"evaluation/detectors/inception.py"}
    assert {file for file, _ in calls("InferenceSession")} == {"evaluation/detectors/nudenet.py"}


def test_no_library_is_told_to_trust_code_of_others() -> None:
    everything = "".join(path.read_text(encoding="utf-8") for path in SOURCES)
    assert "trust_remote_code=True" not in everything and "apply_chat_template" not in everything
    assert "custom_pipeline" not in everything
    automatic = calls(
        "AutoConfig.from_pretrained", "AutoTokenizer.from_pretrained", "AutoModel.from_pretrained"
    )
    assert len(automatic) == 2
    assert all(constant(call, "trust_remote_code") is False for _, call in automatic)


def test_data_sets_are_loaded_by_versions_without_code() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert "datasets>=4" in project and {file for file, _ in calls("load_dataset")} == {"prompts/sources.py"}


def test_modules_are_imported_by_name_in_known_places() -> None:
    chosen = {file for file, call in calls("import_module") if not isinstance(call.args[0], ast.Constant)}
    # the package's own public names; and the user's own code that a setting names
    assert chosen == {"__init__.py", "system/extensions.py"}


def test_programs_are_started_in_known_places() -> None:
    # git, for the commit that a run notes; and the page, which starts `safediffusion train`
    assert importers("subprocess") == {"system/device.py", "ui/run_start.py"}
    assert not calls("os.system", "os.popen", "os.execv", "os.spawnv")


def test_the_network_is_reached_in_known_places() -> None:
    own = importers("socket", "urllib", "http", "requests", "httpx", "aiohttp", "ftplib", "smtplib")
    assert own == {"steering/http_reward.py", "ui/serve.py"}  # the second one listens
    assert importers("huggingface_hub", "datasets", "wandb", "trackio") == {
        "publish/hub.py", "prompts/sources.py", "steering/encoders.py", "evaluation/external_files.py",
        "diffusion/hub_folder.py", "run/trackers.py",
        "diffusion/network_file.py",  # how diffusers splits a large file, which asks no network
    }  # fmt: skip


def test_markup_in_the_report_is_our_own() -> None:
    assert not re.search(r"\|\s*safe\b", TEMPLATE) and "autoescape false" not in TEMPLATE
    inline = set(re.findall(r"{{[^}]*\|\s*inline[^}]*}}", TEMPLATE))
    assert inline == {"{{ chart.svg | inline }}"}
    assert {file for file, _ in calls("Markup")} == {"report/report.py"}
    environments = calls("Environment")
    assert len(environments) == 1 and constant(environments[0][1], "autoescape") is True


@pytest.mark.parametrize("word", ["<script", "onclick", "onload", "javascript:", "http://", "https://"])
def test_the_report_has_no_script_and_no_address(word: str) -> None:
    assert word not in TEMPLATE


def test_links_of_the_report_stay_on_the_page() -> None:
    assert set(re.findall(r'href="?(.)', TEMPLATE)) == {"#"}
