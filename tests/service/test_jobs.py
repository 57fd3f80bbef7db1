"""The records of jobs, what they are about, and when they are made by themselves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_service import Finisher, open_tiny_service
from sqlalchemy import delete, insert
from test_held import put

from medseg.errors import DicomError, JobFailed, NotHeld, TooBusy
from medseg.service.database import Database, results
from medseg.service.identity import key_of
from medseg.service.jobs import Jobs, Order
from medseg.service.loops import Loop, loops_of, remember_forgotten, submit_due
from medseg.service.models import Models
from medseg.service.publish import working_folder
from medseg.service.retention import retain, sweep_incoming
from medseg.service.routing import SeriesFacts, facts_of, first_fitting, fits, rules_of
from medseg.service.service import Service
from medseg.service.settings import Rule, ServiceSettings
from medseg.service.settling import Settling
from medseg.service.work import Options

Write = Callable[..., list[Path]]


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(Database(f"sqlite:///{tmp_path / 'x.sqlite'}"), most_queued=3)


def order(digest: str = "a", **changed: Any) -> Order:
    values = {"model": "m", "bundle_path": "/m", "bundle_digest": "b", "input_digest": digest}
    return Order(**values | changed)


def test_one_order_is_one_job_while_it_lives_and_when_it_is_done(jobs: Jobs) -> None:
    first, is_new = jobs.submit(order())
    assert is_new
    assert jobs.submit(order(priority=1))[0]["id"] == first["id"]
    with jobs.database.begin() as connection:
        jobs.finish(connection, first["id"], {})
        connection.execute(insert(results).values(
            key=first["key"], job_id=first["id"], folder="r", facts={}, size_bytes=0,
            published_at=0.0,
        ))  # fmt: skip
    assert jobs.submit(order())[0]["id"] == first["id"]
    with jobs.database.begin() as connection:  # as retention does
        connection.execute(delete(results))
    again, is_new = jobs.submit(order())
    assert is_new
    jobs.fail(again["id"], DicomError("Bad."))
    first = again
    again, is_new = jobs.submit(order())
    assert is_new
    assert again["id"] != first["id"]
    assert again["key"] == first["key"]


def test_no_more_wait_than_may(jobs: Jobs) -> None:
    for digest in "abc":
        jobs.submit(order(digest))
    with pytest.raises(TooBusy, match="3 that wait"):
        jobs.submit(order("d"))
    assert not jobs.submit(order("a"))[1]


def test_a_job_goes_its_way(jobs: Jobs) -> None:
    job = jobs.submit(order())[0]["id"]
    assert not jobs.move(job, "assemble", 0.5)
    begun = jobs.begin(job)
    assert begun is not None
    assert (begun["attempts"], begun["state"]) == (1, "running")
    assert jobs.move(job, "segment", 0.5)
    jobs.give_back(job, JobFailed("Too slow."))
    assert jobs.get(job)["error_code"] == "service-job"
    again = jobs.begin(job)
    assert again is not None
    assert again["attempts"] == 2
    with jobs.database.begin() as connection:
        assert jobs.finish(connection, job, {"segment": 1.0})
    done = jobs.get(job)
    assert (done["state"], done["error_code"], done["progress"]) == ("done", "", 1.0)
    assert jobs.begin(job) is None
    assert jobs.requeue(job, 0) is None
    assert jobs.counts() == {"done": 1}


def test_a_job_that_nobody_carries_out_is_queued_again_once(jobs: Jobs) -> None:
    job = jobs.submit(order())[0]["id"]
    jobs.begin(job)
    again = jobs.requeue(job, 0)
    assert again is not None
    assert (again["state"], again["run"]) == ("queued", 1)
    assert jobs.requeue(job, 0) is None


def test_what_has_ended_stays_so(jobs: Jobs) -> None:
    job = jobs.submit(order())[0]["id"]
    assert jobs.cancel(job)["state"] == "cancelled"
    jobs.bury(job, JobFailed("Late."))
    with jobs.database.begin() as connection:
        assert not jobs.finish(connection, job, {})
    assert jobs.get(job)["state"] == "cancelled"
    with pytest.raises(JobFailed, match="one that is cancelled"):
        jobs.cancel(job)
    other = jobs.submit(order())[0]["id"]
    assert other != job
    with pytest.raises(JobFailed, match="another job is carried out"):
        jobs.reopen(job)
    jobs.cancel(other)
    assert jobs.reopen(job)["run"] == 1
    with pytest.raises(JobFailed, match="one that is queued"):
        jobs.reopen(job)
    with pytest.raises(NotHeld, match="an id of no job"):
        jobs.get("none")


@given(a=st.text(), b=st.text(), tta=st.booleans())
def test_a_key_follows_from_what_went_in(a: str, b: str, tta: bool) -> None:
    options = Options(tta=tta).model_dump()
    assert key_of(a, b, options) == key_of(a, b, dict(reversed(options.items())))
    assert (key_of(a, b, options) == key_of(b, a, options)) == (a == b)
    assert key_of(a, b, options) != key_of(a, b, Options(tta=not tta).model_dump())


@pytest.mark.parametrize(
    ("rule", "facts", "fitting"),
    [
        ({}, SeriesFacts(), True),
        ({"modality": "mr"}, SeriesFacts("MR"), True),
        ({"modality": "MR"}, SeriesFacts("CT"), False),
        ({"body_part": "Brain"}, SeriesFacts("MR", "BRAIN"), True),
        ({"body_part": "BRAIN"}, SeriesFacts("MR", "KNEE"), False),
        ({"description": "t1.*3d"}, SeriesFacts("MR", "", "AX T1 MPRAGE 3D"), True),
        ({"description": "^t2"}, SeriesFacts("MR", "", "AX T2"), False),
        ({"modality": "MR", "description": "t1"}, SeriesFacts("CT", "", "t1"), False),
    ],
)
def test_rules(rule: dict[str, str], facts: SeriesFacts, fitting: bool) -> None:
    assert fits(Rule(name="r", model="m", **rule), facts) is fitting


def test_the_first_rule_counts() -> None:
    rules = (Rule(name="a", model="m", modality="CT"), Rule(name="b", model="m"),
             Rule(name="c", model="m"))  # fmt: skip
    found = first_fitting(rules, SeriesFacts("MR"))
    assert found is not None
    assert found.name == "b"
    assert first_fitting(rules[:1], SeriesFacts("MR")) is None


def test_facts_come_from_headers() -> None:
    header = {
        "00080060": {"vr": "CS", "Value": ["MR"]}, "0008103E": {"vr": "LO"},
        "00180015": {"vr": "CS", "Value": [None]},
    }  # fmt: skip
    assert facts_of(header) == SeriesFacts("MR", "", "")


def test_without_rules_images_of_its_kind_go_to_the_first_model(
    tmp_path: Path, bundle_folder: Path
) -> None:
    settings = ServiceSettings(
        data=tmp_path,
        models=(str(bundle_folder),),
        destinations=({"kind": "stow", "name": "pacs", "url": "http://x"},),
    )
    (rule,) = rules_of(settings, Models(settings.models))
    assert (rule.name, rule.modality, rule.destinations) == ("default", "MR", ("pacs",))


def test_a_series_is_complete_when_nothing_came_for_a_while() -> None:
    at = [0.0]
    settling = Settling(lambda: at[0])
    settling.arrived("a", 2.0)
    settling.arrived("b", 5.0)
    at[0] = 1.5
    settling.arrived("a", 2.0)
    at[0] = 3.0
    assert settling.due() == []
    at[0] = 4.0
    assert settling.due() == ["a"]
    at[0] = 9.0
    assert settling.due() == ["b"]
    assert len(settling) == 0


def arrive(service: Service, files: list[Path]) -> None:
    for file in files:
        service.arrived(put(service.held, file), 0.0)


def test_series_become_jobs_by_themselves(service: Service, write_study: Write) -> None:
    arrive(service, write_study())
    assert submit_due(service) == 1
    (job,) = service.jobs.newest()
    assert (job["rule"], job["sender"], job["state"]) == ("default", "test", "queued")
    assert submit_due(service) == 0


def test_series_of_which_no_rule_speaks(service: Service, write_study: Write) -> None:
    arrive(service, write_study(modality="CT"))
    assert submit_due(service) == 0
    assert service.jobs.newest() == []
    assert service.audit.newest()[0]["outcome"] == "no rule"


def test_results_are_not_segmented(
    service: Service, finisher: Finisher, write_study: Write
) -> None:
    arrive(service, write_study())
    finisher.at_once()
    submit_due(service)
    (seg,) = [one for one in service.held.instances_of() if one["result_key"]]
    service.settling.arrived(seg["series_uid"], 0.0)
    assert submit_due(service) == 0


def test_what_a_restart_forgot_is_remembered(
    tmp_path: Path, bundle_folder: Path, write_study: Write
) -> None:
    first = open_tiny_service(tmp_path / "held", bundle_folder, settle_seconds=0)
    arrive(first, write_study())
    first.close()
    second = open_tiny_service(tmp_path / "held", bundle_folder, incomplete_seconds=0)
    assert remember_forgotten(second) == 1
    assert submit_due(second) == 1
    assert remember_forgotten(second) == 0


def test_a_loop_goes_on_after_a_failure(service: Service) -> None:
    import threading

    stop, tried = threading.Event(), []

    def work() -> None:
        tried.append(1)
        if len(tried) == 3:
            stop.set()
        raise OSError("disk")

    Loop("x", work, 0.0).run(stop)
    assert len(tried) == 3
    assert {loop.name for loop in loops_of(service)} == {"settling", "mending", "retention"}


def test_what_is_old_goes_unless_work_is_to_be_done(
    tmp_path: Path, bundle_folder: Path, write_study: Write
) -> None:
    from sqlalchemy import update

    from medseg.service.database import instances

    service = open_tiny_service(tmp_path / "held", bundle_folder, retention={"days": 1.0})
    studies = [
        {put(service.held, file).series_uid for file in write_study(name, seed=seed)}.pop()
        for seed, name in enumerate("abc")
    ]
    service.submit_series(studies[0], sender="test")
    with service.database.begin() as connection:
        connection.execute(
            update(instances).where(instances.c.series_uid.in_(studies[:2])).values(received_at=1.0)
        )
    assert retain(service) == 1
    left = {row["series_uid"] for row in service.held.instances_of()}
    assert left == {studies[0], studies[2]}


def test_a_study_stays_until_its_result_is_delivered(
    tmp_path: Path, bundle_folder: Path, write_study: Write
) -> None:
    from sqlalchemy import update

    from medseg.service.database import deliveries, instances

    service = open_tiny_service(
        tmp_path / "held", bundle_folder, retention={"days": 1.0},
        destinations=[{"kind": "stow", "name": "pacs", "url": "http://x"}],
    )  # fmt: skip
    uid = {put(service.held, file).series_uid for file in write_study()}.pop()
    job = service.submit_series(uid, sender="test", destinations=("pacs",))
    Finisher(service).finish(job["id"])
    with service.database.begin() as connection:
        connection.execute(update(instances).values(received_at=1.0))
    assert retain(service) == 0
    with service.database.begin() as connection:
        connection.execute(update(deliveries).values(state="accepted"))
    assert retain(service) == 1
    assert list(service.settings.data.glob("results/*/*")) == []
    assert service.jobs.get(job["id"])["state"] == "done"


def test_what_is_too_much_goes_the_oldest_first(
    tmp_path: Path, bundle_folder: Path, write_study: Write
) -> None:
    service = open_tiny_service(tmp_path / "held", bundle_folder)
    series = [
        {put(service.held, file).series_uid for file in write_study(name, seed=seed)}.pop()
        for seed, name in enumerate("abc")
    ]
    size = service.held.size_bytes()
    service.close()
    again = open_tiny_service(
        tmp_path / "held", bundle_folder, retention={"bytes": int(size * 0.7)}
    )
    assert retain(again) == 1
    assert {row["series_uid"] for row in again.held.instances_of()} == set(series[1:])


def test_leftovers_of_crashes_go_after_an_hour(service: Service) -> None:
    import os

    old, new = service.held.incoming / "old", service.held.incoming / "new"
    for path in (old, new):
        path.write_bytes(b"x")
    job = service.jobs.submit(order())[0]
    working = service.settings.data / working_folder(job["key"], job["id"])
    working.mkdir()
    for path in (old, working):
        os.utime(path, (1.0, 1.0))
    assert sweep_incoming(service) == 1
    assert new.exists()
    assert working.exists()
