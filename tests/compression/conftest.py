"""The bundle, its cases and its graph, made once for all tests of compression."""

import pytest
from exports import first_network, make_bundle, make_data

from medseg.bundle import save_bundle
from medseg.compression.graph import onnx_graph
from medseg.compression.patches import TrialData, real_patches


@pytest.fixture(scope="session")
def balls(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("balls"))


@pytest.fixture(scope="session")
def learned_bundle(tmp_path_factory):
    return save_bundle(make_bundle(), tmp_path_factory.mktemp("learned") / "bundle")


@pytest.fixture(scope="session")
def trial(learned_bundle, balls):
    return TrialData(learned_bundle, balls)


@pytest.fixture(scope="session")
def patches(trial, learned_bundle):
    return real_patches(trial, learned_bundle.configurations[0], 6).batches


@pytest.fixture(scope="session")
def network(learned_bundle):
    return first_network(learned_bundle)


@pytest.fixture(scope="session")
def graph(network, patches):
    return onnx_graph(network, patches[0].shape[1:])
