"""The OpenAPI document against the service: whatever it allows is answered, and never with 5xx."""

from collections import Counter

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from small_service import client_of

from medseg.service.app import create_app
from medseg.service.heartbeat import beat
from medseg.service.service import Service

QUICK = settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
HERE = {"Host": "127.0.0.1"}


@pytest.fixture
def document(service: Service) -> schemathesis.BaseSchema:
    beat(service.database, "here-0")  # as a worker does: the service is ready
    return schemathesis.openapi.from_asgi("/openapi.json", create_app(service), headers=HERE)


@pytest.mark.filterwarnings("ignore")
def test_whatever_the_document_allows_is_answered(document: schemathesis.BaseSchema) -> None:
    answers: dict[str, Counter[int]] = {}
    for found in document.get_all_operations():
        operation = found.ok()

        @QUICK
        @given(case=operation.as_strategy())
        def is_answered(case: schemathesis.Case) -> None:
            response = case.call(headers=HERE)
            assert response.status_code < 500, (case.as_curl_command(), response.text)
            assert response.status_code != 403, "refused as a foreign page: nothing was tested"
            answers.setdefault(case.operation.label, Counter())[response.status_code] += 1

        is_answered()
    assert len(answers) >= 25
    assert all(counts.total() >= 1 for counts in answers.values())


def test_the_document_names_every_way_in(service: Service) -> None:
    client = client_of(service)
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/segment", "/jobs/{job_id}", "/dicomweb/studies", "/healthz", "/metrics"} <= set(paths)
    assert client.get("/docs").status_code == 404, "no page from elsewhere"
