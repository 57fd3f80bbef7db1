"""Results go where each order for them wants them, once."""

from collections.abc import Callable
from pathlib import Path

import pytest
from small_service import Finisher
from sqlalchemy import select, update

from medseg.service.database import deliveries
from medseg.service.deliveries import promise
from medseg.service.service import Service

Write = Callable[..., list[Path]]
Places = dict[str, tuple[str, int]]


def places_of(service: Service) -> Places:
    with service.database.reading() as connection:
        rows = connection.execute(select(deliveries)).all()
    return {row.destination: (row.state, row.attempts) for row in rows}


@pytest.fixture
def series_uid(service: Service, write_study: Write) -> str:
    stored = []
    for file in write_study():
        place = service.held.incoming / file.name
        place.write_bytes(file.read_bytes())
        stored.append(service.held.put(place, "test"))
    return stored[0].series_uid


def test_a_second_order_adds_its_destinations_to_a_job_that_waits(
    service: Service, finisher: Finisher, series_uid: str
) -> None:
    first = service.submit_series(series_uid, sender="a", destinations=("pacs",))
    second = service.submit_series(series_uid, sender="b", destinations=("pacs", "archive"))
    assert (second["id"], second["destinations"]) == (first["id"], ["pacs", "archive"])
    finisher.finish(first["id"])
    assert places_of(service) == {"pacs": ("waiting", 0), "archive": ("waiting", 0)}


def test_an_order_for_a_result_that_is_there_sends_it(
    service: Service, finisher: Finisher, series_uid: str
) -> None:
    job = service.submit_series(series_uid, sender="a")
    finisher.finish(job["id"])
    assert places_of(service) == {}
    again = service.submit_series(series_uid, sender="a", destinations=("pacs",))
    assert again["id"] == job["id"]
    assert places_of(service) == {"pacs": ("waiting", 0)}


@pytest.mark.parametrize(("rule", "expected"), [("by hand", ("waiting", 0)), ("r", ("refused", 3))])
def test_what_was_refused_goes_again_when_somebody_asks_for_it(
    service: Service,
    finisher: Finisher,
    series_uid: str,
    rule: str,
    expected: tuple[str, int],
) -> None:
    job = service.submit_series(series_uid, sender="a", destinations=("pacs",))
    finisher.finish(job["id"])
    with service.database.begin() as connection:
        connection.execute(update(deliveries).values(state="refused", attempts=3))
    service.submit_series(series_uid, sender="a", destinations=("pacs",), rule=rule)
    assert places_of(service) == {"pacs": expected}


def test_what_was_accepted_never_goes_again(
    service: Service, finisher: Finisher, series_uid: str
) -> None:
    job = service.submit_series(series_uid, sender="a", destinations=("pacs",))
    finisher.finish(job["id"])
    with service.database.begin() as connection:
        connection.execute(update(deliveries).values(state="accepted"))
        promise(connection, job["key"], "pacs", again=True)
    assert places_of(service) == {"pacs": ("accepted", 0)}
