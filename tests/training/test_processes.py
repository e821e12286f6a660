import pytest

from safediffusion.training import processes


@pytest.mark.parametrize(("groups", "count"), [(8, 2), (3, 2), (7, 4), (5, 5), (4, 1)])
def test_every_group_is_in_one_process_and_shares_differ_by_one_at_most(monkeypatch, groups, count):
    monkeypatch.setattr(processes, "count", lambda: count)
    shares = []
    for rank in range(count):
        monkeypatch.setattr(processes, "rank", lambda rank=rank: rank)
        shares.append(processes.share(groups))
    assert [group for share in shares for group in share] == list(range(groups))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1 <= min(map(len, shares))
