import pytest
from pydantic import ValidationError

from medseg.volume.remarks import Remark


def test_codes_are_a_closed_list():
    assert Remark(code="gaps", text="A sentence.").model_dump() == {
        "code": "gaps", "text": "A sentence.",
    }  # fmt: skip
    with pytest.raises(ValidationError, match="code"):
        Remark(code="other", text="")
