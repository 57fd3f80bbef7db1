from medseg.cli.processes import torchrun_place
from medseg.training.team import Place

TOLD = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "node0"}


def test_torchrun_says_where_all_meet() -> None:
    told = TOLD | {"MASTER_PORT": "29500", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    assert torchrun_place(told) == Place(3, 4, 1, "node0", 29500, is_hosted=True)


def test_a_process_of_its_own_is_alone() -> None:
    assert torchrun_place({}) is None
    assert torchrun_place({"RANK": "0", "WORLD_SIZE": "1"}) is None
