"""The tests' own two processes: an error of either arrives, and a crash says where it was."""

import ctypes

import pytest
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from tests.two_processes import in_two_processes


def fail(rank: int) -> None:
    if rank == 1:
        raise ValueError("the second one")


def crash(rank: int) -> None:
    if rank == 0:
        ctypes.string_at(0)


def test_an_error_of_one_process_arrives() -> None:
    with pytest.raises(ProcessRaisedException, match="the second one"):
        in_two_processes(fail)


def test_a_crash_says_where_it_was() -> None:
    with pytest.raises(ProcessExitedException) as caught:
        in_two_processes(crash)
    assert "in crash" in "".join(caught.value.__notes__)
