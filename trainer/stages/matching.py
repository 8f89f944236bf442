"""Which of several vectors belongs to which: the assignment with the largest sum."""

import importlib

import torch
from torch import Tensor


def matched(scores_MKK: Tensor) -> Tensor:
    """For each row of a member its column, ``[M, K]``: a permutation of the largest sum of scores.

    By the Hungarian method, on the CPU.
    """
    assign = importlib.import_module("scipy.optimize").linear_sum_assignment
    columns = [torch.from_numpy(assign(one.numpy(), maximize=True)[1]) for one in scores_MKK.detach().cpu()]
    return torch.stack(columns).to(scores_MKK.device)
