"""FID and KID against plain float64 references; clean resizing; features from TorchScript."""

import tracemalloc

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import linalg

from safediffusion.evaluation.detectors.inception import Inception, clean_resize
from safediffusion.evaluation.measures import FromReference, Unmeasured
from safediffusion.evaluation.measures.clustered import ClusteredRate
from safediffusion.evaluation.measures.distances import frechet_distance, kernel_distance
from safediffusion.evaluation.tasks import get_task

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(300, 12)), RNG.normal(0.3, 1.2, size=(400, 12))


def test_fid_equals_the_matrix_square_root():
    a, b = np.cov(X, rowvar=False), np.cov(Y, rowvar=False)
    shift = ((X.mean(0) - Y.mean(0)) ** 2).sum()
    expected = shift + np.trace(a + b - 2 * np.real(linalg.sqrtm(a @ b)))
    assert frechet_distance(X, Y) == pytest.approx(expected, rel=1e-6)


def test_kid_equals_the_sum_over_pairs():
    def k(p: np.ndarray, q: np.ndarray) -> float:
        return (p @ q / 12 + 1) ** 3

    x, y = X[:20], Y[:25]
    within = np.mean([k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
    within += np.mean([k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j])
    assert kernel_distance(x, y) == pytest.approx(
        within - 2 * np.mean([k(a, b) for a in x for b in y]), rel=1e-6
    )


@pytest.mark.parametrize("block", [7, 100, 1024])
def test_kid_is_the_same_in_blocks(block: int):
    assert kernel_distance(X, Y, block) == pytest.approx(kernel_distance(X, Y, 10_000), rel=1e-12)


def test_kid_needs_the_memory_of_a_block_only():
    x = np.random.default_rng(0).normal(size=(3000, 4))
    tracemalloc.start()
    kernel_distance(x, x, block=200)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3000 * 3000 * 8 / 10


def record(index: int, features: np.ndarray, **more: bool) -> dict:
    return {"index": index, "inception": torch.from_numpy(features), "clip": 0.2, **more}


@pytest.mark.parametrize(("own", "reference"), [(0, 5), (1, 5), (2, 5), (5, 0), (5, 1)])
def test_a_distance_of_too_few_pictures_says_why_it_has_no_value(own: int, reference: int):
    rows = [record(i, X[i]) for i in range(own)]
    real = [record(9 + i, Y[i], reference=True) for i in range(reference)]
    scores = get_task("fid").score([*rows, *real])
    assert not {"fid", "kid"} & set(scores.metrics)
    expected = "could be judged" if not own else f"there are {own} images and {reference} references"
    assert expected in scores.unmeasured["fid"] and expected in scores.unmeasured["kid"]


def test_three_pictures_have_a_distance_with_an_interval():
    real = [record(9 + i, Y[i], reference=True) for i in range(2)]
    metrics = get_task("fid").score([*(record(i, X[i]) for i in range(3)), *real]).metrics
    for name in ("fid", "kid"):
        assert np.isfinite([metrics[name][key] for key in ("value", "ci_low", "ci_high")]).all()


def test_clean_resize_is_pillows_float_bicubic():
    image = torch.rand(3, 40, 57)
    pixels = (image * 255).round()
    for channel, resized in zip(pixels, clean_resize(image), strict=True):
        expected = Image.fromarray(channel.numpy(), mode="F").resize((299, 299), Image.Resampling.BICUBIC)
        assert np.abs(np.clip(np.asarray(expected), 0, 255) - resized.numpy()).max() < 1e-4


class Layers(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def test_features_are_those_of_the_script(tmp_path, monkeypatch: pytest.MonkeyPatch):
    from safediffusion.evaluation.detectors import inception
    from safediffusion.evaluation.external_files import External

    torch.jit.script(Layers()).save(str(tmp_path / "tiny.pt"))
    monkeypatch.setenv("SAFEDIFFUSION_HOME", str(tmp_path))
    monkeypatch.setattr(inception, "WEIGHTS", External("tiny.pt", "", ""))
    (fragment,) = Inception("cpu")([torch.ones(3, 8, 8)], [{}])
    assert fragment["inception"].tolist() == pytest.approx([127 / 128] * 12)


def test_distance_from_reference_splits_the_records():
    records = [{"f": torch.from_numpy(x), "reference": True} for x in X] + [
        {"f": torch.from_numpy(y)} for y in Y
    ]
    measure = FromReference("fid", False, "", frechet_distance, ("f",))
    found = measure.summary(records)
    assert found is not None and found["n"] == 400
    assert found["value"] == pytest.approx(frechet_distance(Y, X))
    with pytest.raises(Unmeasured, match="there are 0 images"):
        measure.summary(records[:300])


def test_prompts_not_images_are_the_sample_and_the_expected_maximum_is_exact():
    records = [{"prompt": str(i), "hit": k < i} for i in range(4) for k in range(3)]  # 0, 1/3, 2/3, 1
    rate = ClusteredRate("r", False, "", lambda r: r["hit"])
    found = rate.summary(records)
    assert found is not None and (found["value"], found["n"]) == (pytest.approx(0.5), 4)
    most = ClusteredRate("m", False, "", lambda r: r["hit"], draws=2).summary(records)
    pairs = [max(a, b) / 3 for a in range(4) for b in range(4) if a != b]
    assert most is not None and most["value"] == pytest.approx(np.mean(pairs))


def test_a_clustered_rate_is_over_images_where_prompts_have_different_numbers_of_them():
    sizes, hits = (1, 2, 7), (1, 0, 3)
    pairs = enumerate(zip(sizes, hits, strict=True))
    records = [{"prompt": str(i), "hit": k < h} for i, (n, h) in pairs for k in range(n)]
    rate = ClusteredRate("r", False, "", lambda r: r["hit"])
    found = rate.summary(records)
    assert found is not None and found["value"] == pytest.approx(0.4)
    none = [r | {"hit": False} for r in records]
    assert rate.difference(records, none)["difference"] == pytest.approx(-0.4)
