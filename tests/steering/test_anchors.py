import pytest

from safediffusion.errors import UserError
from safediffusion.steering.anchors import list_policies, load_safety_policy


@pytest.mark.parametrize(
    ("encoder", "own"), [("world", {"sexual": (4, 4)}), ("openai/clip-vit-large-patch14", {})]
)
def test_every_shipped_policy_loads_and_has_the_stated_size(encoder, own):
    sizes = {
        n: tuple(map(len, (p.safe, p.unsafe)))
        for n in list_policies(encoder)
        for p in [load_safety_policy(n, encoder)]
    }
    assert sizes == {"compact": (5, 3), "empty-positive": (0, 3), "scaled": (25, 20)} | own


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UserError, match="compact, empty-positive, scaled, sexual"):
        load_safety_policy("scalde")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("safe: [calm]\n", "no unsafe phrases"),
        ("unsafe: [harm]\n", "empty_positive"),
        ("safe: [calm]\nunsafe: ['']\n", "unsafe.0=.* is empty"),
        ("safe: [calm]\nunsafe: [calm]\n", "same phrase"),
        ("safe: [calm]\nunsafe: [harm]\nalpha: -1\n", "greater than or equal to 0"),
        ("safe: [calm]\nunsafe: [harm]\nsaef: [x]\n", "unknown fields"),
        ("- calm\n", "must hold"),
        ("safe: [calm\n", "valid YAML"),
    ],
)
def test_a_bad_policy_is_refused_with_its_reason(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        load_safety_policy(str(path))


def test_a_missing_file_is_named():
    with pytest.raises(UserError, match=r"nowhere\.yaml"):
        load_safety_policy("nowhere.yaml")
