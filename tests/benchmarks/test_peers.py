"""Pairs in turn, ratios with intervals, and peers that cannot be had."""

import sys

import pytest


def test_sides_take_turns_and_the_first_pair_is_not_counted():
    from peer_pairs import interleaved

    order = []

    def side(name, seconds):
        return lambda: order.append(name) or next(seconds)

    rows = interleaved(side("ours", iter([9.0, 1.0, 2.0])), side("theirs", iter([9.0, 3.0, 4.0])), 2)
    assert rows == [(1.0, 3.0), (2.0, 4.0)]
    assert order == ["theirs", "ours", "ours", "theirs", "theirs", "ours"]


def test_a_ratio_and_its_inverse_have_inverse_intervals():
    from peer_pairs import geometric

    ratio, inverse = geometric([1.0, 4.0, 2.0]), geometric([1.0, 0.25, 0.5])
    assert ratio.value == pytest.approx(2.0) and 0 < ratio.ci_low < 1 < 2 < ratio.ci_high
    assert ratio.ci_low == pytest.approx(1 / inverse.ci_high)
    assert geometric([3.0]).ci_low is None


def test_a_row_has_speeds_ratio_and_number_of_pairs():
    from peer_pairs import Subject, compare
    from peers import table

    subject = Subject("sampling", "diffusers 0", 8, "alike")
    row = compare(subject, lambda: 2.0, lambda: 4.0, 3)
    assert (row["n"], row["ratio"]["value"], row["ours_per_s"]["value"]) == (3, pytest.approx(2.0), 4.0)
    line = table({"parts": {"sampling": [row]}}).splitlines()[2]
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells == ["sampling", "diffusers 0", "4.00", "2.00", "**2.00 [2.00, 2.00]**", "3", "alike"]


def test_a_peer_that_cannot_be_had_is_a_row_with_its_reason(monkeypatch, tmp_path):
    import peer_subjects
    from peer_pairs import Absent
    from peers import table

    def none(*_):
        raise Absent("pip install: no network")

    monkeypatch.setattr(peer_subjects, "environment", none)
    monkeypatch.setattr(peer_subjects, "world_images", lambda n, folder: [])
    rows = [*peer_subjects.training(8, 2, 1, tmp_path), *peer_subjects.detection(4, 1, tmp_path)]
    assert [row["peer"] for row in rows] == ["TRL's DDPOTrainer", "nudenet 3.0.8", "nudenet 3.4.2"]
    assert table({"parts": {"all": rows}}).count("not measured: pip install: no network") == 3


CLIENT = """
import sys
print('{"ready": "1"}', flush=True)
for line in sys.stdin:
    if line.strip() == "fall":
        sys.exit("WARNING: later\\nNoModule: the peer fell" if len(sys.argv) > 1 else 0)
    print('{"seconds": 2, "word": "%s"}' % line.strip(), flush=True)
"""


def test_a_client_answers_each_turn_and_says_why_it_ended(monkeypatch, tmp_path):
    import peer_pairs

    (tmp_path / "client.py").write_text(CLIENT, encoding="utf-8")
    monkeypatch.setattr(peer_pairs, "CLIENT", tmp_path / "client.py")
    with peer_pairs.Client(sys.executable, {"peer": "any"}) as client:
        assert client.about == {"ready": "1"}
        assert client.turn("ours") == {"seconds": 2, "word": "ours"} and client.turn()["word"] == "theirs"
        with pytest.raises(peer_pairs.Absent, match=r"^NoModule: the peer fell$"):
            client.turn("fall")
        with pytest.raises(peer_pairs.Absent):
            client.turn()


def test_boxes_are_alike_by_label_score_and_place():
    from peer_subjects import boxes_alike

    box = ["FACE_FEMALE", 0.5, [1, 2, 3, 4]]
    near, moved = ["FACE_FEMALE", 0.5005, [1, 2, 3, 4]], ["FACE_FEMALE", 0.5, [1, 2, 3, 5]]
    assert boxes_alike([[box], [box], []], [[near], [moved], []]).startswith("2 of 3 images")
    assert boxes_alike([[box]], [[]]).startswith("0 of 1 images") and "(1 and 0 boxes" in boxes_alike(
        [[box]], [[]]
    )
    assert boxes_alike([[]], [[]]).startswith("neither")
