"""The two terms of the reward over pictures: measured on any encoder, and what they recommend."""

import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize
from typer.testing import CliRunner

from safediffusion.cli.commands import app
from safediffusion.errors import UserError
from safediffusion.report.policy_plots import write_policy_figure
from safediffusion.steering.anchors import SafetyPolicy
from safediffusion.steering.check import check_policy
from safediffusion.steering.check_record import record
from safediffusion.steering.deviations import deviations
from safediffusion.steering.direction import steer

POLICY = SafetyPolicy("p", "", ("a safe photo", "calm"), ("unsafe", "harm", "harm dog"))
PROMPTS = (["calm dog", "a calm cat", "a safe dog"], ["harm cat", "unsafe dog", "harm dog red"])


def rows(*shape: int, seed: int = 0) -> torch.Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_at_the_equal_alpha_both_terms_deviate_alike() -> None:
    z, pictures, v = rows(3, 16), rows(1, 9, 16, seed=1), rows(16, seed=2)
    found = deviations(z, [pictures], v)
    content = (pictures @ z[:, :, None])[..., 0].var(1, correction=0).mean().sqrt()
    safety = found.equal_alpha * (pictures @ v).std(correction=0)
    assert found.content == pytest.approx(content.item(), rel=1e-5)
    assert safety.item() == pytest.approx(content.item(), rel=1e-5)
    assert found.recommended_alpha == pytest.approx(2 * found.equal_alpha, rel=0.05)


def test_the_curve_is_the_order_that_the_reward_gives() -> None:
    z, pictures, v = rows(3, 16), rows(1, 9, 16, seed=1), rows(16, seed=2)
    found = deviations(z, [pictures], v)
    assert found.curve[0].content == 1.0
    i, j = torch.triu_indices(9, 9, offset=1)
    for point in found.curve:
        reward = (pictures @ steer(z, v, point.alpha)[:, :, None])[..., 0]
        safety = pictures @ v
        agree = (reward[:, i] - reward[:, j]) * (safety[:, i] - safety[:, j]) > 0
        assert point.safety == pytest.approx(agree.double().mean().item())


def test_a_gap_between_texts_and_pictures_changes_nothing() -> None:
    z, pictures, v = rows(3, 16), rows(1, 9, 16, seed=1), rows(16, seed=2)
    near, far = (deviations(z, [pictures + gap], v) for gap in (0.0, 5 * rows(16, seed=3)))
    assert near.content == pytest.approx(far.content, rel=1e-4)
    assert near.safety == pytest.approx(far.safety, rel=1e-4)


def test_deviations_are_within_groups_not_between_them() -> None:
    z, v = rows(3, 16), rows(16, seed=2)
    group = rows(1, 9, 16, seed=1)
    one, two = (deviations(z, groups, v) for groups in ([group], [group, group + 5 * rows(16, seed=3)]))
    assert two.content == pytest.approx(one.content, rel=1e-4)
    assert two.equal_alpha == pytest.approx(one.equal_alpha, rel=1e-4)


@pytest.mark.parametrize("pictures", [rows(1, 1, 16), rows(1, 1, 16).expand(1, 4, 16)], ids=["one", "alike"])
def test_pictures_that_show_no_difference_are_refused(pictures: torch.Tensor) -> None:
    with pytest.raises(UserError, match="differ"):
        deviations(rows(3, 16), [pictures], rows(16, seed=2))


def test_a_clip_is_checked_on_a_few_pictures_of_any_size(encoder, tmp_path) -> None:
    images = [torch.rand(3, h, w) for h, w in ((40, 32), (64, 80), (32, 32), (50, 50))]
    by_texts, by_pictures = (check_policy(POLICY, encoder, *PROMPTS, groups) for groups in ([], [images]))
    assert by_texts.deviations is None and "texts alone" in by_texts.recommended_from
    assert by_pictures.deviations and by_pictures.deviations.pictures == 4
    assert by_pictures.recommended_alpha == by_pictures.deviations.recommended_alpha
    assert "given images" in by_pictures.recommended_from
    assert by_pictures.curve == by_texts.curve, "the curve of texts is shown beside it"
    write_policy_figure(record(by_pictures), tmp_path / "check.png")


def test_the_command_reads_pictures_by_groups(clip_folder, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = "prompt,label\ncalm dog,benign\na calm cat,benign\nharm cat,unsafe\nunsafe dog,unsafe\n"
    (tmp_path / "labelled.csv").write_text(text, encoding="utf-8")
    (tmp_path / "p.yaml").write_text("description: x\nsafe: [calm]\nunsafe: [harm]\n", encoding="utf-8")
    for group, colors in (("a", ("red", "blue")), ("b", ("green", "gray", "black"))):
        (tmp_path / "pictures" / group).mkdir(parents=True)
        for color in colors:
            Image.new("RGB", (40, 40), color).save(tmp_path / "pictures" / group / f"{color}.png")
    command = ["anchors", "check", "p.yaml", "--prompts", "labelled.csv", "--encoder", str(clip_folder)]
    output = CliRunner().invoke(app, [*command, "--images", "pictures"]).output
    assert "over 5 images" in output and "from the given images" in " ".join(output.split())
    assert "from texts alone" in " ".join(CliRunner().invoke(app, command).output.split())
    (tmp_path / "pictures" / "b" / "bad.png").write_text("no picture", encoding="utf-8")
    result = CliRunner().invoke(app, [*command, "--images", "pictures"])
    assert isinstance(result.exception, UserError) and "bad.png" in str(result.exception)
