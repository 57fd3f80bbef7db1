"""Parameters and multiplications of a network that holds no memory."""

import torch
from torch.utils.flop_counter import FlopCounterMode


def parameters(network):
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def gmacs(network, channels, grid):
    """Billions of multiply-adds of one forward pass of one sample, on the meta device."""
    counter = FlopCounterMode(display=False)
    with torch.device("meta"), counter:
        network.eval()(torch.empty(1, channels, *grid))
    return counter.get_total_flops() / 2e9
