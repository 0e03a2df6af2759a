"""Noise on a score, so that a batch is drawn around the top of a ranking and is not its very top alone."""

from __future__ import annotations

import torch
from torch import Tensor

from lossrank.errors import StrategyError, unknown_name
from lossrank.requirements import require_number

__all__ = ["KINDS", "perturbed"]

KINDS = ("power", "softmax", "softrank")


def perturbed(scores: Tensor, kind: str, sharpness: float, generator: torch.Generator) -> Tensor:
    """Scores [N] with Gumbel noise, in float64: their n largest are a draw without replacement, each in proportion to
    score^b (`power`), exp(b x score) (`softmax`) or rank^-b (`softrank`), where b is the sharpness.

    Kirsch et al. 2021, section 3: b = 1 unless told otherwise; b towards 0 draws uniformly, b large takes the top. Only
    the power needs scores on a scale with a zero; ranks serve any score, predicted losses included.

    Raises:
        StrategyError: another kind, a sharpness that is not above 0, or negative scores under `power`.
    """
    if kind not in KINDS:
        raise StrategyError(unknown_name("kind of noise", kind, KINDS))
    require_number("sharpness", sharpness, 0, above=True, error=StrategyError)
    values = scores.double()
    if kind == "power":
        if bool((values < 0).any()):
            raise StrategyError(
                f"power noise needs scores of 0 or more; the smallest is {float(values.min()):.3g}. "
                "A predicted loss that was learned by ranking has no zero: take softrank"
            )
        values = values.log()  # of zero: minus infinity, after everything else
    elif kind == "softrank":
        # Equal scores share a rank: the number of larger ones, plus one.
        larger = len(values) - torch.searchsorted(values.sort().values, values, right=True)
        values = -(larger + 1.0).log()
    uniform = torch.rand(len(values), dtype=torch.float64, generator=generator).clamp(min=1e-300)
    return values.cpu() - (-uniform.log()).log() / sharpness
