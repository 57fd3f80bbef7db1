"""Packages that a command needs and a small installation lacks."""

from importlib.util import find_spec

from medseg.errors import MissingDependency


def require_service() -> None:
    """Pass if what the service needs is installed.

    Raises:
        MissingDependency: If not.
    """
    missing = [
        name
        for name in ("fastapi", "uvicorn", "dbos", "sqlalchemy", "pynetdicom", "dicomweb_client",
                     "jwt", "prometheus_client", "python_multipart")
        if find_spec(name) is None
    ]  # fmt: skip
    if missing:
        raise MissingDependency(
            "The service needs packages of its own.",
            received=f"none of the name {', '.join(missing)}",
            cure='Install them: pip install "medseg[service]".',
        )
