"""The door for DICOM nodes: C-ECHO and C-STORE from those on the list (PS3.4, annexes A and B)."""

import logging
import shutil
from uuid import uuid4

from pynetdicom import AE, AllStoragePresentationContexts, _config, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from sqlalchemy.exc import SQLAlchemyError

from medseg.errors import CannotWrite, MedsegError
from medseg.service.held import DUPLICATE, NOT_UNDERSTOOD, OUT_OF_RESOURCES
from medseg.service.service import Service
from medseg.service.settings import Dimse
from medseg.service.tls import server_context

SYNTAXES = (
    "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91",
)  # fmt: skip
"""What the decoders know: native, deflated, RLE, JPEG, JPEG-LS, JPEG 2000."""

_MOST_ASSOCIATIONS = 16
_TIMEOUT_SECONDS = 30.0
_SUCCESS = 0x0000

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
        _config.STORE_RECV_CHUNKED_DATASET = True
        entity = AE(ae_title=settings.ae_title)
        entity.maximum_associations = _MOST_ASSOCIATIONS
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = _TIMEOUT_SECONDS
        entity.require_called_aet = True
        entity.require_calling_aet = [peer.ae_title for peer in settings.peers]
        entity.add_supported_context(Verification)
        for context in AllStoragePresentationContexts:
            if context.abstract_syntax is not None:
                entity.add_supported_context(context.abstract_syntax, list(SYNTAXES))
        tls = None if settings.tls is None else server_context(settings.tls)
        try:
            self._server = entity.start_server(
                (settings.host, settings.port),
                block=False,
                ssl_context=tls,
                evt_handlers=[
                    (evt.EVT_C_STORE, self._store),
                    (evt.EVT_C_ECHO, self._echo),
                    (evt.EVT_REQUESTED, self._look),
                    (evt.EVT_REJECTED, self._rejected),
                ],
            )
        except OSError as error:
            raise CannotWrite(
                "The door for DICOM nodes has an address of its own.",
                received=f"{settings.host}:{settings.port}: {error.strerror}",
                cure="Choose another port with [dimse] port.",
            ) from error

    @property
    def port(self) -> int:
        """Where it listens: with port 0 the system chose one."""
        assert self._server is not None
        return int(self._server.server_address[1])

    def close(self) -> None:
        """End it."""
        if self._server is not None:
            self._server.shutdown()

    def _look(self, event: evt.Event) -> None:
        """Let only those in who call from the address that their title has."""
        peer = event.assoc.requestor
        allowed = [one for one in self._settings.peers if one.ae_title == peer.ae_title]
        if any(one.address in (None, peer.address) for one in allowed) or not self._settings.peers:
            return
        self._note("refused", peer.ae_title, peer.address, "address")
        event.assoc.acse.send_reject(0x01, 0x01, 0x03)  # calling AE title not recognised
        event.assoc.kill()

    def _rejected(self, event: evt.Event) -> None:
        peer = event.assoc.requestor
        self._note("refused", peer.ae_title, peer.address, "rejected")

    def _echo(self, event: evt.Event) -> int:
        return _SUCCESS

    def _store(self, event: evt.Event) -> int:
        """Take an instance; the status of C-STORE."""
        peer = event.assoc.requestor
        place = self._service.held.incoming / f"part-{uuid4().hex}"
        try:
            shutil.move(event.dataset_path, place)  # written as it came in, never whole in memory
            stored = self._service.held.put(place, f"ae:{peer.ae_title}")
            if stored.is_held:
                self._service.arrived(stored, self._settings.settle_seconds)
                self._service.audit.note(
                    "sent", f"ae:{peer.ae_title}", "study", stored.study_uid,
                    origin=peer.address, every_seconds=60.0,
                )  # fmt: skip
                return _SUCCESS
            _log.info("dimse.refused", extra={"status": stored.failure})
            return DUPLICATE if stored.failure is None else stored.failure
        except OSError:
            return OUT_OF_RESOURCES
        except (MedsegError, SQLAlchemyError):
            return OUT_OF_RESOURCES
        except Exception as error:
            _log.warning("dimse.fault", extra={"error": type(error).__name__})
            return NOT_UNDERSTOOD
        finally:
            place.unlink(missing_ok=True)

    def _note(self, action: str, title: str, address: str, outcome: str) -> None:
        self._service.audit.note(
            "refused", f"ae:{title}", "door", action, outcome=outcome, origin=address
        )
