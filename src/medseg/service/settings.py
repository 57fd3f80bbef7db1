"""Settings of the service: one TOML file, closed and checked before anything starts."""

import re
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from medseg.errors import InvalidSettings, MissingPath, UnreadableFile
from medseg.specs.base import FROZEN

Role = Literal["send", "read", "admin"]
"""What somebody may do: send studies, read studies and results, or all of it and delete."""

AeTitle = Annotated[str, Field(pattern=r"^[ -\[\]-~]{1,16}$")]
"""Name of a DICOM application (PS3.5, 6.2, AE): up to 16 characters, no backslash."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]

_GIBIBYTE = 2**30


class Limits(BaseModel):
    """What is refused, and where work is given up.

    Attributes:
        upload_bytes: Of one request, and of one association by C-STORE.
        inflated_bytes: What a zip, or a deflated instance, may become.
        pixels: Rows x Columns x Frames of one instance.
        files_per_study: Instances of one study.
        queued_jobs: Jobs that wait; more are refused until some are done.
        job_seconds: One attempt at a job.
        job_memory_bytes: What the process that decodes and segments may hold.
        attempts: At a job, before it is put aside as dead.
    """

    model_config = FROZEN

    upload_bytes: int = Field(4 * _GIBIBYTE, ge=1024)
    inflated_bytes: int = Field(8 * _GIBIBYTE, ge=1024)
    pixels: int = Field(2**31, ge=1)
    files_per_study: int = Field(20_000, ge=1)
    queued_jobs: int = Field(10_000, ge=1)
    job_seconds: float = Field(900.0, gt=0)
    job_memory_bytes: int = Field(6 * _GIBIBYTE, ge=2**29)
    attempts: int = Field(3, ge=1, le=20)


class Retention(BaseModel):
    """How long studies and results are held.

    Attributes:
        days: Since the last use of a study; None for ever.
        bytes: Of all instances and results together; the oldest go first. None for no bound.
        quota_bytes: Beyond it nothing more is taken in (HTTP 507, DIMSE A700). None for no bound.
    """

    model_config = FROZEN

    days: float | None = Field(None, gt=0)
    bytes: int | None = Field(None, ge=1024)
    quota_bytes: int | None = Field(None, ge=1024)


class Tls(BaseModel):
    """Files of a TLS identity, in PEM.

    Attributes:
        certificate: The chain.
        key: Its private key.
        authorities: Whom the other side must be certified by; None for not asked.
    """

    model_config = FROZEN

    certificate: Path
    key: Path
    authorities: Path | None = None


class NoAuth(BaseModel):
    """Everybody may do everything; allowed on loopback only."""

    model_config = FROZEN

    kind: Literal["none"] = "none"


class KeyAuth(BaseModel):
    """API keys, held as hashes in the database: `medseg serve-key create NAME --role read`."""

    model_config = FROZEN

    kind: Literal["keys"] = "keys"


class OidcAuth(BaseModel):
    """Signed tokens (JWT) of an OpenID provider.

    Attributes:
        issuer: Must be the token's `iss`.
        audience: Must be in the token's `aud`.
        jwks_url: Where the provider's keys are; plain HTTP on loopback only.
        roles_claim: The claim that lists roles; dots go deeper: `realm_access.roles`.
        roles: From a word of the claim to ours; words that are not here give nothing.
    """

    model_config = FROZEN

    kind: Literal["oidc"] = "oidc"
    issuer: str
    audience: str
    jwks_url: str = Field(pattern=r"^https://|^http://(localhost|127\.0\.0\.1|\[::1\])[:/]")
    roles_claim: str = "roles"
    roles: dict[str, Role] = {"send": "send", "read": "read", "admin": "admin"}


Auth = Annotated[NoAuth | KeyAuth | OidcAuth, Field(discriminator="kind")]


class Peer(BaseModel):
    """Who may open an association.

    Attributes:
        ae_title: By which it calls itself.
        address: From which it calls; None for any.
    """

    model_config = FROZEN

    ae_title: AeTitle
    address: str | None = None

    @field_validator("address")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is not None:
            ip_address(value)
        return value


class Dimse(BaseModel):
    """The door for C-STORE and C-ECHO.

    Attributes:
        ae_title: Of this service.
        host: Where it listens.
        port: Where it listens.
        peers: Who may call. Nobody else is let in; empty lets in everybody on loopback.
        tls: Encrypts it.
        settle_seconds: A series is complete when nothing of it arrived for so long.
    """

    model_config = FROZEN

    ae_title: AeTitle = "MEDSEG"
    host: str = "127.0.0.1"
    port: int = Field(11112, ge=0, le=65535)
    peers: tuple[Peer, ...] = ()
    tls: Tls | None = None
    settle_seconds: float = Field(5.0, gt=0)


class StowDestination(BaseModel):
    """A DICOMweb store.

    Attributes:
        name: By which rules call it.
        url: Of the service, without `/studies`.
        token_file: Holds the bearer token, where one is needed.
        authorities: Whom the server must be certified by; None for the system's.
    """

    model_config = FROZEN

    kind: Literal["stow"] = "stow"
    name: Name
    url: str = Field(pattern=r"^https?://[^\s]+$")
    token_file: Path | None = None
    authorities: Path | None = None


class StoreDestination(BaseModel):
    """A DICOM node that takes C-STORE.

    Attributes:
        name: By which rules call it.
        host: Where it is.
        port: Where it is.
        ae_title: Of the node.
        calling_ae_title: Of ours.
        tls: Encrypts it.
    """

    model_config = FROZEN

    kind: Literal["c-store"] = "c-store"
    name: Name
    host: str
    port: int = Field(ge=1, le=65535)
    ae_title: AeTitle
    calling_ae_title: AeTitle = "MEDSEG"
    tls: Tls | None = None


Destination = Annotated[StowDestination | StoreDestination, Field(discriminator="kind")]


class Rule(BaseModel):
    """Which series goes to which bundle; the first rule that fits a series counts.

    Attributes:
        name: Stands in the record of each job that it made.
        model: Name or folder of a bundle.
        modality: DICOM's word; None for any.
        body_part: DICOM's word, in any case; None for any.
        description: A regular expression found in the series' description, in any case.
        destinations: Names of where results go.
        priority: Jobs with a smaller number come first.
    """

    model_config = FROZEN

    name: Name
    model: str
    modality: str | None = None
    body_part: str | None = None
    description: str | None = None
    destinations: tuple[Name, ...] = ()
    priority: int = Field(100, ge=1, le=1_000_000)

    @field_validator("description")
    @classmethod
    def _is_expression(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                re.compile(value)
            except re.error as error:
                raise ValueError(f"{value!r} is no regular expression: {error}") from error
        return value


class ServiceSettings(BaseModel):
    """Everything that the service is told.

    Attributes:
        data: Folder of all that is held.
        models: Names or folders of bundles that may be asked for; the first is the default.
        host: Where HTTP listens.
        port: Where HTTP listens.
        workers: Processes that segment, on this machine.
        database_url: SQLAlchemy's; None for SQLite in the data folder.
        tls: Encrypts HTTP.
        auth: Who may do what.
        limits: What is refused.
        retention: How long things are held.
        dimse: The door for C-STORE; None for none.
        destinations: Where results can go.
        rules: What happens to series by themselves. Where there are none, every CT, MR and PET
            series that fits the first model is segmented by it.
        settle_seconds: A series sent by STOW-RS is complete when nothing of it arrived for so long.
        incomplete_seconds: The same for a series of which something was refused, or whose sending a
            restart cut off: its sender is expected to try again.
        drift: For models whose data are watched, the folder of `medseg drift watch --out`; what
            lies there is told at `/metrics`.
    """

    model_config = FROZEN

    data: Path
    models: tuple[str, ...] = Field(min_length=1)
    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535)
    workers: int = Field(1, ge=0, le=64)
    database_url: str | None = None
    tls: Tls | None = None
    auth: Auth = Field(default_factory=NoAuth)
    limits: Limits = Field(default_factory=Limits)
    retention: Retention = Field(default_factory=Retention)
    dimse: Dimse | None = None
    destinations: tuple[Destination, ...] = ()
    rules: tuple[Rule, ...] = ()
    settle_seconds: float = Field(1.0, ge=0)
    incomplete_seconds: float = Field(60.0, ge=0)
    drift: dict[str, Path] = {}

    @model_validator(mode="after")
    def _agrees(self) -> "ServiceSettings":
        if isinstance(self.auth, NoAuth) and not is_loopback(self.host):
            raise ValueError(
                f"without auth the service listens on loopback only, not on {self.host}: "
                'add [auth] kind = "keys" or "oidc"'
            )
        dimse = self.dimse
        if dimse is not None and not dimse.peers and not is_loopback(dimse.host):
            raise ValueError(
                f"without [[dimse.peers]] C-STORE listens on loopback only, not on {dimse.host}"
            )
        names = [one.name for one in self.destinations]
        if len(set(names)) < len(names):
            raise ValueError("two destinations have one name")
        if len({rule.name for rule in self.rules}) < len(self.rules):
            raise ValueError("two rules have one name")
        for rule in self.rules:
            if rule.model not in self.models:
                raise ValueError(f"rule {rule.name} names the model {rule.model}, not in models")
            unknown = set(rule.destinations) - set(names)
            if unknown:
                raise ValueError(f"rule {rule.name} names no such destination: {sorted(unknown)}")
        if unserved := set(self.drift) - set(self.models):
            raise ValueError(f"drift names models that are not in models: {sorted(unserved)}")
        return self

    @property
    def url(self) -> str:
        """SQLAlchemy's address of the database."""
        return self.database_url or f"sqlite:///{(self.data / 'medseg.sqlite').absolute()}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_settings(
    path: Path | None, given: dict[str, Any], otherwise: dict[str, Any] | None = None
) -> ServiceSettings:
    """Settings from a TOML file and from what was typed; the latter wins, in tables row by row.

    Args:
        path: The file; None for none.
        given: Values of `ServiceSettings` by their names.
        otherwise: Values where neither says anything.

    Raises:
        MissingPath: If there is no such file.
        UnreadableFile: If it is no TOML.
        InvalidSettings: If a value is not allowed, or none was given where one must be.
    """
    with _checked():
        found = {**(otherwise or {}), **_table(path)}
        for name, value in given.items():
            there = found.get(name)
            if isinstance(there, dict) and isinstance(value, dict):
                value = {**there, **value}
            found[name] = value
        return ServiceSettings.model_validate(found)


def read_limits(path: Path | None) -> Limits:
    """What a worker must know of the settings.

    Raises:
        MissingPath: If there is no such file.
        UnreadableFile: If it is no TOML.
        InvalidSettings: If a value is not allowed.
    """
    with _checked():
        return Limits.model_validate(_table(path).get("limits", {}))


def _table(path: Path | None) -> dict[str, Any]:
    """The content of a settings file."""
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingPath(
            "Settings of the service are a TOML file.",
            received=f"nothing at {path}",
            cure="Check the path, or leave --settings out.",
        ) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UnreadableFile(
            "Settings of the service are a TOML file.",
            received=f"{path}: {error}",
            cure="Correct the file.",
        ) from error


@contextmanager
def _checked() -> Iterator[None]:
    """What pydantic refuses becomes one sentence."""
    try:
        yield
    except ValidationError as error:
        raise InvalidSettings(
            "Settings of the service have known names and allowed values.",
            received="; ".join(_told(one["loc"], one["msg"]) for one in error.errors()[:5]),
            cure="See the page on the service for what each setting means.",
        ) from error


def _told(place: Sequence[int | str], message: str) -> str:
    where = ".".join(str(part) for part in place)
    message = message.removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
