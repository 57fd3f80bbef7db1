"""A bundle with random weights and a volume of noise."""

import pytest
from small import make_bundle, make_volume

from medseg.bundle import Bundle
from medseg.volume.volume import Volume


@pytest.fixture
def bundle() -> Bundle:
    return make_bundle()


@pytest.fixture
def volume() -> Volume:
    return make_volume()
