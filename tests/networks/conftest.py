"""Networks of these tests are so small that threads cost more than they gain."""

import torch

torch.set_num_threads(1)
