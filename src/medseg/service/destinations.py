"""Where results go: a DICOMweb store, or a node that takes C-STORE.

What a destination says of each instance counts, and nothing else: some answer "all is well" to what
they did not keep, and "bad request" to what they did.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
import requests
from dicomweb_client import DICOMwebClient
from pynetdicom import AE

from medseg.errors import Undelivered
from medseg.service.dicom_json import DICOM_JSON
from medseg.service.settings import Destination, StoreDestination, StowDestination
from medseg.service.tls import client_context

TIMEOUT_SECONDS = 30.0
"""For each answer of a destination."""

_STORED = (0x0000, 0xB000, 0xB006, 0xB007, 0x0111)
"""Success; stored with a warning; held there already (PS3.4, B.2.3; PS3.7, C.5.8)."""

_PASSING = (0x0110, 0x0124, *range(0xA700, 0xA800))
"""Something failed there, we are not allowed yet, or it is out of resources: later it may go."""

_CLASS_NOT_SUPPORTED = 0x0122

_REFERENCED, _FAILED = "00081199", "00081198"
_UID, _REASON = "00081155", "00081197"


@dataclass(frozen=True)
class Told:
    """What a destination said.

    Attributes:
        accepted: UIDs of the instances that it holds now.
        refused: DICOM's reason for those that it does not hold, by UID; 0 where none was given.
        words: What else it said; empty for nothing.
    """

    accepted: frozenset[str] = frozenset()
    refused: dict[str, int] = field(default_factory=dict)
    words: str = ""

    @property
    def is_final(self) -> bool:
        """Whether sending the refused ones again would not help."""
        reasons = self.refused.values()
        return bool(reasons) and all(reason and reason not in _PASSING for reason in reasons)


def send(destination: Destination, files: Sequence[Path]) -> Told:
    """Send DICOM files.

    Args:
        destination: Where to.
        files: What.

    Raises:
        Undelivered: If the destination cannot be reached.
    """
    datasets = [pydicom.dcmread(path) for path in files]
    try:
        if isinstance(destination, StowDestination):
            return _stow(destination, datasets)
        return _store(destination, datasets)
    except OSError as error:  # of the network, or of a file with a token; requests' are some too
        raise unreached(type(error).__name__) from error


def _stow(destination: StowDestination, datasets: Sequence[Any]) -> Told:
    session = requests.Session()
    if destination.authorities is not None:
        session.verify = str(destination.authorities)
    if destination.token_file is not None:
        token = destination.token_file.read_text(encoding="utf-8").strip()
        session.headers["Authorization"] = f"Bearer {token}"
    client = DICOMwebClient(destination.url.rstrip("/"), session, timeout=TIMEOUT_SECONDS)
    client.set_http_retry_params(retry=False)  # the outbox tries again
    sent = {str(one.SOPInstanceUID): one for one in datasets}
    answer: dict[str, Any] = {}
    words = ""
    with session:
        try:
            answer = client.store_instances(list(datasets)).to_json_dict()
        except requests.HTTPError as error:
            answer, words = _body(error.response), f"HTTP {_status(error.response)}"
        except requests.RequestException:
            raise
        except (ValueError, KeyError, TypeError, AttributeError):
            words = "an answer that is no DICOM"  # and says nothing of any instance
        told = reconciled(answer, set(sent))
        silent = [uid for uid in sent if uid not in told.accepted and uid not in told.refused]
        there = {uid for uid in silent if _holds(client, sent[uid])}
    refused = {**told.refused, **{uid: 0 for uid in silent if uid not in there}}
    return Told(told.accepted | there, refused, words if refused else "")


def _status(response: requests.Response | None) -> str:
    return "without an answer" if response is None else str(response.status_code)


def _body(response: Any) -> dict[str, Any]:
    """The answer that comes with an error, where it is DICOM JSON."""
    if response is None or DICOM_JSON not in response.headers.get("content-type", ""):
        return {}
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def reconciled(answer: dict[str, Any], sent: set[str]) -> Told:
    """What a Store Instances Response (PS3.18, I.2) says of the instances that were sent.

    Args:
        answer: In the DICOM JSON model.
        sent: UIDs; others that it speaks of are not believed.
    """
    accepted = {_first(one, _UID) for one in _items(answer, _REFERENCED)} & sent
    refused: dict[str, int] = {}
    for one in _items(answer, _FAILED):
        uid = _first(one, _UID)
        if uid not in sent:
            continue
        reason = int(_first(one, _REASON) or 0)
        if reason in _STORED[1:]:
            accepted.add(uid)
        else:
            refused[uid] = reason
    return Told(frozenset(accepted - refused.keys()), refused)


def _items(answer: dict[str, Any], tag: str) -> list[dict[str, Any]]:
    return [one for one in answer.get(tag, {}).get("Value", []) if isinstance(one, dict)]


def _first(item: dict[str, Any], tag: str) -> str:
    values = item.get(tag, {}).get("Value") or [""]
    return str(values[0])


def _holds(client: DICOMwebClient, dataset: Any) -> bool:
    """Whether a store has an instance of which its answer said nothing."""
    try:
        found = client.search_for_instances(
            str(dataset.StudyInstanceUID),
            str(dataset.SeriesInstanceUID),
            search_filters={"SOPInstanceUID": str(dataset.SOPInstanceUID)},
        )
    except (requests.RequestException, ValueError, OSError, AttributeError):
        return False
    return any(_first(one, "00080018") == str(dataset.SOPInstanceUID) for one in found)


def _store(destination: StoreDestination, datasets: Sequence[Any]) -> Told:
    entity = AE(ae_title=destination.calling_ae_title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = TIMEOUT_SECONDS
    entity.connection_timeout = 10.0
    for one in datasets:
        entity.add_requested_context(one.SOPClassUID, one.file_meta.TransferSyntaxUID)
    tls = None
    if destination.tls is not None:
        tls = (client_context(destination.tls), destination.host)
    association = entity.associate(
        destination.host, destination.port, ae_title=destination.ae_title, tls_args=tls
    )
    if not association.is_established:
        raise unreached("no association")
    accepted, refused = set(), {}
    try:
        for one in datasets:
            uid = str(one.SOPInstanceUID)
            try:
                status = association.send_c_store(one)
            except ValueError:  # no presentation context for it was accepted
                refused[uid] = _CLASS_NOT_SUPPORTED
                continue
            except RuntimeError as error:  # the association ended meanwhile
                raise unreached("an association that broke") from error
            if "Status" not in status:  # it ended, or no answer came in time
                raise unreached("an association without an answer")
            code = int(status.Status)
            if code in _STORED:
                accepted.add(uid)
            else:
                refused[uid] = code
    finally:
        if association.is_established:
            association.release()
    return Told(frozenset(accepted), refused)


def unreached(received: str) -> Undelivered:
    """The error for a destination that does not answer."""
    return Undelivered(
        "A destination can be reached and answers.",
        received=received,
        cure="It is tried again; check its address, port, AE title and certificates.",
    )
