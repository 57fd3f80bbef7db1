"""The application: routes, who is let in, and how errors are told."""

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

import medseg
from medseg.errors import MedsegError
from medseg.service import about_routes, job_routes, problems, qido, segment_routes, stow, wado
from medseg.service.access import Access
from medseg.service.loopback import LoopbackOnly
from medseg.service.metrics import Metrics
from medseg.service.monitor import Readiness, monitor_routes
from medseg.service.page_files import page_routes
from medseg.service.service import Service
from medseg.service.viewing import viewing_routes

_log = logging.getLogger("medseg.service.app")


def create_app(service: Service) -> FastAPI:
    """The application of an open service.

    Args:
        service: What is behind it; whoever opened it closes it.
    """
    app = FastAPI(
        title="medseg",
        version=medseg.__version__,
        summary="DICOM in, DICOM-SEG out.",
        docs_url=None,
        redoc_url=None,
    )
    metrics = Metrics(service.database, service.settings.drift)
    readiness = Readiness(service.database, service.settings.data, service.models)
    app.state.service, app.state.gate, app.state.audit = service, service.gate, service.audit
    app.state.metrics = metrics
    for routes in (
        monitor_routes(readiness, metrics), segment_routes.router, job_routes.router,
        viewing_routes(job_routes.viewed_files_of), about_routes.router, stow.router, wado.router,
        qido.router, page_routes(),
    ):  # fmt: skip
        app.include_router(routes)
    app.add_exception_handler(MedsegError, problems.handle)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(Exception, _unexpected)
    if service.gate.is_open:
        app.add_middleware(LoopbackOnly)
    app.add_middleware(Access, told=metrics.request)
    return app


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    """A parameter that is not allowed, without what was sent: it may be a patient's."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][:2])
    problem = problems.Problem(code="service-upload", message=f"{place}: {first['msg']}")
    return JSONResponse(problem.model_dump(), status_code=422)


async def _no_route(_: Request, error: Exception) -> JSONResponse:
    """A path or a method that there is not, in the form of all problems."""
    assert isinstance(error, HTTPException)
    problem = problems.Problem(code="service-not-held", message=f"{error.detail}.")
    return JSONResponse(problem.model_dump(), status_code=error.status_code, headers=error.headers)


async def _unexpected(_: Request, error: Exception) -> JSONResponse:
    """A fault of ours: told without its words, and logged."""
    _log.error("http.fault", extra={"error": type(error).__name__})
    problem = problems.Problem(
        code="service", message="The service made a mistake; its log says where."
    )
    return JSONResponse(problem.model_dump(), status_code=500)
