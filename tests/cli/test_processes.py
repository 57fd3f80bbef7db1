import pytest

from medseg.cli.processes import openmp_threads, torchrun_place
from medseg.training.team import Place

TOLD = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "node0"}


def test_torchrun_says_where_all_meet() -> None:
    told = TOLD | {"MASTER_PORT": "29500", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    assert torchrun_place(told) == Place(3, 4, 1, "node0", 29500, is_hosted=True)


def test_a_process_of_its_own_is_alone() -> None:
    assert torchrun_place({}) is None
    assert torchrun_place({"RANK": "0", "WORLD_SIZE": "1"}) is None


@pytest.mark.parametrize(
    ("said", "threads"),
    [("3", 3), ("4,2", 4), (" 2 ", 2), ("", None), ("0", None), ("-1", None), ("many", None)],
)
def test_openmp_threads_are_the_first_number(said: str, threads: int | None) -> None:
    assert openmp_threads({"OMP_NUM_THREADS": said}) == threads
    assert openmp_threads({}) is None
