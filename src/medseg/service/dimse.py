"""The door for DICOM nodes: C-ECHO and C-STORE from those on the list (PS3.4, annexes A and B)."""

import logging
import tempfile
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary, WeakSet

from pynetdicom import AE, AllStoragePresentationContexts, _config, dimse_messages, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from sqlalchemy.exc import SQLAlchemyError

from medseg.errors import CannotWrite, MedsegError
from medseg.service.held import NOT_UNDERSTOOD, OUT_OF_RESOURCES, Stored
from medseg.service.service import Service
from medseg.service.settings import Dimse
from medseg.service.tls import server_context

SYNTAXES = (
    "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203",
)  # fmt: skip
"""What the decoders know: native, deflated, RLE, JPEG, JPEG-LS, JPEG 2000 and its HT kind."""

CONFLICT = 0xC111
"""Other bytes are held under this UID. Not PS3.7's 0x0111: senders take that for success."""

_SUCCESS = 0x0000
_MOST_ASSOCIATIONS = 16
_TIMEOUT_SECONDS = 30.0
_NOTED_SECONDS = 60.0
_REJECTED_PERMANENT, _BY_USER, _CALLING_TITLE = 1, 1, 3
"""Result, source and reason of A-ASSOCIATE-RJ (PS3.8, 9.3.4): calling AE title not recognised."""

_ABORTED_BY_PROVIDER = 2

_log = logging.getLogger("medseg.service.dimse")


class Door:
    """Listens until it is closed.

    Args:
        service: What takes the instances.
        settings: Where it listens, and who may call.

    Raises:
        CannotWrite: If the address is taken.
        InvalidSettings: If the TLS files cannot be used.
    """

    def __init__(self, service: Service, settings: Dimse) -> None:
        self._service, self._settings = service, settings
        self._bytes: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        self._latest: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
        self._refused: WeakSet[Any] = WeakSet()
        _write_what_arrives_into(service.held.incoming)
        self._entity = _entity(settings)
        tls = None if settings.tls is None else server_context(settings.tls)
        try:
            server = self._entity.start_server(
                (settings.host, settings.port),
                block=False,
                ssl_context=tls,
                evt_handlers=[
                    (evt.EVT_REQUESTED, self._look),
                    (evt.EVT_REJECTED, self._rejected),
                    (evt.EVT_DATA_RECV, self._count),
                    (evt.EVT_C_ECHO, lambda event: _SUCCESS),
                    (evt.EVT_C_STORE, self._store),
                ],
            )
        except OSError as error:
            raise CannotWrite(
                "The door for DICOM nodes has an address of its own.",
                received=f"{settings.host}:{settings.port}: {error.strerror}",
                cure="Choose another port with [dimse] port.",
            ) from error
        assert server is not None
        self._server = server
        self.port = int(server.server_address[1])
        """Where it listens: with port 0 the system chose one."""

    def callers(self) -> int:
        """How many associations are open."""
        return len(self._entity.active_associations)

    def close(self) -> None:
        """End it, and every association."""
        self._server.shutdown()
        for association in self._entity.active_associations:
            if association.is_established:
                association.abort()

    def _look(self, event: evt.Event) -> None:
        """Let only those in who are on the list, from the address that their title has."""
        peer = event.assoc.requestor
        title = str(getattr(peer.primitive, "calling_ae_title", ""))
        if not self._settings.peers or self._is_listed(title, peer.address):
            return
        self._note_refused(title, peer.address, "not listed")
        event.assoc.acse.send_reject(_REJECTED_PERMANENT, _BY_USER, _CALLING_TITLE)
        event.assoc.kill()

    def _is_listed(self, title: str, address: str) -> bool:
        return any(
            one.ae_title.strip() == title.strip()
            and (one.address is None or _plain(one.address) == _plain(address))
            for one in self._settings.peers
        )

    def _rejected(self, event: evt.Event) -> None:
        """Somebody called us by another name, or too many are here."""
        peer = event.assoc.requestor
        self._note_refused(peer.ae_title, peer.address, "rejected")

    def _note_refused(self, title: str, address: str, outcome: str) -> None:
        self._service.audit.note(
            "refused", f"ae:{title}", "door", "dimse", outcome=outcome, origin=address,
            every_seconds=_NOTED_SECONDS,
        )  # fmt: skip

    def _count(self, event: evt.Event) -> None:
        """End an association that has sent more than it may."""
        association = event.assoc
        total = self._bytes.get(association, 0) + len(event.data)
        self._bytes[association] = total
        if total > self._service.settings.limits.upload_bytes and not association.is_aborted:
            _log.warning("dimse.too_large", extra={"code": "service-too-large"})
            association.acse.send_abort(_ABORTED_BY_PROVIDER)

    def _store(self, event: evt.Event) -> int:
        """Take an instance; the status of C-STORE."""
        status = self._status_of(event)
        if status != _SUCCESS:
            self._refused.add(event.assoc)
        return status

    def _status_of(self, event: evt.Event) -> int:
        try:
            stored = self._take(event)
        except (MedsegError, SQLAlchemyError, OSError) as error:
            _log.warning("dimse.failed", extra={"error": type(error).__name__})
            return OUT_OF_RESOURCES
        except Exception as error:  # whatever a broken data set makes a parser do
            import traceback

            traceback.print_exc()
            _log.warning("dimse.fault", extra={"error": type(error).__name__})
            return NOT_UNDERSTOOD
        if stored.failure is None:
            return _SUCCESS
        _log.info("dimse.refused", extra={"outcome": stored.outcome, "status": stored.failure})
        return CONFLICT if stored.outcome == "conflict" else stored.failure

    def _take(self, event: evt.Event) -> Stored:
        """Hold an instance, which is on the disk already as it came."""
        association, request = event.assoc, event.request
        assert isinstance(request, C_STORE)
        peer = association.requestor
        sender = f"ae:{peer.ae_title}"
        place = self._service.held.incoming / f"part-{uuid4().hex}"
        event.dataset_path.replace(place)
        stored = self._service.held.put(
            place, sender,
            announced=(str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID)),
        )  # fmt: skip
        if stored.is_held:
            uid = stored.series_uid
            self._latest[association] = uid
            self._service.arrived(
                stored, self._settings.settle_seconds, lambda: self._rest(association, uid)
            )
            self._service.audit.note(
                "sent", sender, "study", stored.study_uid, origin=peer.address,
                every_seconds=_NOTED_SECONDS,
            )  # fmt: skip
        return stored

    def _rest(self, association: Any, series_uid: str) -> float | None:
        """How long a series rests now: None while what an association sent last was of it.

        Where the association broke, or something was refused, its sender may call again.
        """
        if association.is_alive() and self._latest.get(association) == series_uid:
            return None
        broke = not association.is_alive() and not association.is_released
        if broke or association in self._refused:
            return max(self._settings.settle_seconds, self._service.settings.incomplete_seconds)
        return self._settings.settle_seconds


def _entity(settings: Dimse) -> AE:
    entity = AE(ae_title=settings.ae_title)
    entity.maximum_associations = _MOST_ASSOCIATIONS
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = _TIMEOUT_SECONDS
    entity.require_called_aet = True
    entity.add_supported_context(Verification)
    for context in AllStoragePresentationContexts:
        if context.abstract_syntax is not None:
            entity.add_supported_context(context.abstract_syntax, list(SYNTAXES))
    return entity


def _write_what_arrives_into(folder: Path) -> None:
    """Let pynetdicom write data sets to a file while they arrive, on the disk of their later place.

    It would take the system's folder for temporary files, which may be memory, and has no setting
    for another one. What a broken connection leaves there, `retention.sweep_incoming` removes.
    """
    _config.STORE_RECV_CHUNKED_DATASET = True
    dimse_messages.NamedTemporaryFile = partial(  # type: ignore[attr-defined,assignment]
        tempfile.NamedTemporaryFile, dir=folder, prefix="dimse-"
    )


def _plain(address: str) -> IPv4Address | IPv6Address:
    """An address; IPv4 as itself where it came in the clothes of IPv6."""
    plain = ip_address(address)
    mapped = plain.ipv4_mapped if isinstance(plain, IPv6Address) else None
    return mapped or plain
