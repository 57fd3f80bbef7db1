"""Torch keeps the contract of engines."""

from engine_contract import EngineContract, network

from medseg.inference.torch_engine import TorchEngine


class TestTorch(EngineContract):
    name = "torch"

    def engine(self, folder):
        return TorchEngine(network(), device="cpu", precision="fp32")
