"""Words of the DICOM JSON model (PS3.18, annex F), and which media types DICOMweb speaks."""

from typing import Any

DICOM_JSON = "application/dicom+json"
DICOM = "application/dicom"


def element(keyword: str, *values: Any) -> dict[str, Any]:
    """One attribute, as `{tag: {"vr": ..., "Value": [...]}}`.

    Args:
        keyword: Of the attribute.
        values: Its values; none for an empty one.
    """
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    tag = tag_for_keyword(keyword)
    assert tag is not None
    body: dict[str, Any] = {"vr": dictionary_VR(tag)}
    if values:
        body["Value"] = list(values)
    return {f"{int(tag):08X}": body}


def text_of(header: dict[str, Any], tag: str) -> str:
    """First value of an attribute as text; a person's name in its alphabetic form."""
    values = header.get(tag, {}).get("Value") or [""]
    value = values[0]
    if isinstance(value, dict):
        value = value.get("Alphabetic", "")
    return "" if value is None else str(value)


def tag_of(name: str) -> str | None:
    """The tag of an attribute by its keyword or its eight digits; None for what is neither."""
    from pydicom.datadict import tag_for_keyword

    if len(name) == 8 and all(letter in "0123456789abcdefABCDEF" for letter in name):
        return name.upper()
    tag = tag_for_keyword(name)
    return None if tag is None else f"{int(tag):08X}"
