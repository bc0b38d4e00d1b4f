"""Torch on one thread: results repeat to the bit, and tests beside each other do not slow each other down."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
