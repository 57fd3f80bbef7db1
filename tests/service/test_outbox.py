"""Results on their way to destinations that fail, refuse and accept."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_service import Finisher, client_of, open_tiny_service, phantom_nifti
from sqlalchemy import insert, select

from medseg.service.database import deliveries
from medseg.service.destinations import Told, reconciled, unreached
from medseg.service.dicom_json import element
from medseg.service.outbox import LEASE_SECONDS, Outbox, delay_seconds
from medseg.service.service import Service
from medseg.service.settings import StowDestination

PACS = StowDestination(name="pacs", url="http://127.0.0.1:1")


class World:
    """A service with one result that is to go to one destination, and a clock."""

    def __init__(self, service: Service, tmp_path: Path, answers: list[Told | Exception]) -> None:
        file = service.held.incoming / "x"
        file.write_bytes(phantom_nifti(tmp_path / "x.nii.gz").read_bytes())
        digest = service.held.put_upload(file, "x", "test")
        job = service.submit_upload(digest, sender="test")
        Finisher(service).finish(job["id"])
        with service.database.begin() as connection:
            connection.execute(
                insert(deliveries).values(
                    key=job["key"], destination="pacs", state="waiting", attempts=0, next_at=0.0,
                    leased_until=0.0, last_error="",
                )
            )  # fmt: skip
        self.service, self.at, self.sent = service, 100.0, 0
        self._answers = answers
        self.outbox = Outbox(
            service.database, service.settings.data, (PACS,), np.random.default_rng(0),
            sender=self._send, clock=lambda: self.at,
        )  # fmt: skip

    def _send(self, destination: Any, files: list[Path]) -> Told:
        self.sent += 1
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def row(self) -> Any:
        with self.service.database.reading() as connection:
            return connection.execute(select(deliveries)).one()


def test_it_is_tried_until_it_is_accepted(service: Service, tmp_path: Path) -> None:
    refused = Told(refused={"1.2": 0xA700})
    world = World(service, tmp_path, [unreached("no association"), refused, Told(frozenset("1"))])
    assert world.outbox.deliver_due() == 1
    assert world.outbox.deliver_due() == 0
    assert (world.row.state, world.row.attempts) == ("waiting", 1)
    assert "no association" in world.row.last_error
    world.at = world.row.next_at
    world.outbox.deliver_due()
    assert "0xA700" in world.row.last_error
    world.at = world.row.next_at
    world.outbox.deliver_due()
    assert (world.row.state, world.row.attempts, world.row.last_error) == ("accepted", 3, "")
    world.at += 10_000
    assert world.outbox.deliver_due() == 0


def test_never_means_never(service: Service, tmp_path: Path) -> None:
    world = World(service, tmp_path, [Told(refused={"1.2": 0xA900})])
    world.outbox.deliver_due()
    assert world.row.state == "refused"


def test_what_one_process_sends_no_other_takes(service: Service, tmp_path: Path) -> None:
    world = World(service, tmp_path, [Told(frozenset("1"))])
    assert world.outbox._lease() is not None  # and then that process is killed
    assert world.outbox.deliver_due() == 0
    world.at += LEASE_SECONDS
    assert world.outbox.deliver_due() == 1
    assert world.row.state == "accepted"


def test_a_lease_that_ran_out_changes_nothing_any_more(service: Service, tmp_path: Path) -> None:
    world = World(service, tmp_path, [Told(frozenset("1"))])
    slow = world.outbox._lease()
    assert slow is not None
    world.at += LEASE_SECONDS
    world.outbox.deliver_due()
    world.outbox._later(slow, unreached("the slow one"))
    assert (world.row.state, world.row.last_error) == ("accepted", "")


def test_a_fault_of_ours_is_tried_again(service: Service, tmp_path: Path) -> None:
    world = World(service, tmp_path, [ValueError("x"), Told(frozenset("1"))])
    world.outbox.deliver_due()
    assert (world.row.state, world.row.leased_until) == ("waiting", 0.0)
    assert "ValueError" in world.row.last_error
    world.at = world.row.next_at
    world.outbox.deliver_due()
    assert world.row.state == "accepted"


def test_nothing_accepted_is_no_success(service: Service, tmp_path: Path) -> None:
    world = World(service, tmp_path, [Told()])
    world.outbox.deliver_due()
    assert world.row.state == "waiting"


@pytest.mark.parametrize(("attempts", "seconds"), [(1, 5), (2, 10), (4, 40), (30, 600)])
def test_delays_are_doubled_and_bounded(attempts: int, seconds: float) -> None:
    generator = np.random.default_rng(0)
    delays = [delay_seconds(attempts, generator) for _ in range(100)]
    assert 0.8 * seconds <= min(delays) < max(delays) <= 1.2 * seconds


def _answer(held: list[str], failed: dict[str, int]) -> dict[str, Any]:
    return {
        **element("ReferencedSOPSequence",
                  *(element("ReferencedSOPInstanceUID", uid) for uid in held)),
        **element("FailedSOPSequence",
                  *({**element("ReferencedSOPInstanceUID", uid), **element("FailureReason", reason)}
                    for uid, reason in failed.items())),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("held", "failed", "accepted", "refused", "final"),
    [
        (["1"], {}, {"1"}, {}, False),
        (["1", "9"], {}, {"1"}, {}, False),
        ([], {"1": 0xA900}, set(), {"1": 0xA900}, True),
        ([], {"1": 0xA700}, set(), {"1": 0xA700}, False),
        ([], {"1": 0x0111}, {"1"}, {}, False),
        (["1"], {"1": 0xC000}, set(), {"1": 0xC000}, True),
        ([], {"9": 0xC000}, set(), {}, False),
    ],
)
def test_each_instance_counts_by_itself(
    held: list[str],
    failed: dict[str, int],
    accepted: set[str],
    refused: dict[str, int],
    final: bool,
) -> None:
    told = reconciled(_answer(held, failed), {"1"})
    assert (told.accepted, told.refused, told.is_final) == (frozenset(accepted), refused, final)


def test_answers_without_sense_say_nothing() -> None:
    assert reconciled({}, {"1"}) == Told()
    assert reconciled({"00081199": {"Value": ["x", None]}}, {"1"}) == Told()


def test_a_result_goes_to_its_destinations_once(tmp_path: Path, bundle_folder: Path) -> None:
    service = open_tiny_service(
        tmp_path / "held", bundle_folder, destinations=[PACS.model_dump()],
        rules=[{"name": "r", "model": str(bundle_folder), "destinations": ["pacs"]}],
    )  # fmt: skip
    client = client_of(service)
    assert client.get("/destinations").json() == [{"name": "pacs", "kind": "stow"}]
