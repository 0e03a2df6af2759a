"""Loss-prediction strategies: one rule of selection, and four ways to train the predictor that differ by values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from lossrank.strategies.base import PredictorPlan
from lossrank.strategies.ranked import Ranked

__all__ = ["L2RAL", "LL4AL", "LL4ALPairs", "LossRank", "Pointwise", "PredictedLoss", "RankAllFeatures"]


@dataclass(frozen=True)
class PredictedLoss(Ranked):
    """Highest predicted loss first. What the prediction is worth depends on `plan`."""

    needs: ClassVar[frozenset[str]] = frozenset({"predicted_loss"})
    score: ClassVar[str | None] = "predicted_loss"
    plan: PredictorPlan = field(default_factory=PredictorPlan)

    def predictor(self) -> PredictorPlan | None:
        return self.plan


@dataclass(frozen=True)
class L2RAL(PredictedLoss):
    """The paper: last block, gradient stopped, listwise loss through SoDeep's GRU, learned beside the model."""

    name: ClassVar[str] = "l2r-al"
    cost: ClassVar[str] = "a small step beside each of the model's, one pass over the candidates"
    paper: ClassVar[str] = "Learning to Rank for Active Learning: A Listwise Approach (L2R-AL)"
    plan: PredictorPlan = field(default_factory=lambda: PredictorPlan(loss="spearman-gru"))


@dataclass(frozen=True)
class LL4AL(PredictedLoss):
    """Four taps, margin pairs i with d-1-i, gradient into the model in the first 121 of 200 epochs."""

    name: ClassVar[str] = "ll4al"
    cost: ClassVar[str] = "a small step beside each of the model's, one pass over the candidates"
    paper: ClassVar[str] = "Yoo & Kweon, Learning Loss for Active Learning, CVPR 2019"
    plan: PredictorPlan = field(
        default_factory=lambda: PredictorPlan(taps="all", loss="margin", detach_after=0.6, optimizer="task")
    )


@dataclass(frozen=True)
class LL4ALPairs(PredictedLoss):
    """LL4AL with TA-VAAL's pairs: cross entropy of which of two loses more, in place of the margin."""

    name: ClassVar[str] = "ll4al-bce"
    cost: ClassVar[str] = LL4AL.cost
    paper: ClassVar[str] = "Kim et al., Task-Aware Variational Adversarial Active Learning, CVPR 2021"
    plan: PredictorPlan = field(
        default_factory=lambda: PredictorPlan(taps="all", loss="bce", detach_after=0.6, optimizer="task")
    )


@dataclass(frozen=True)
class RankAllFeatures(PredictedLoss):
    """LL4AL's four taps trained by the listwise loss, gradient stopped: the paper's second row."""

    name: ClassVar[str] = "rank-all-features"
    cost: ClassVar[str] = L2RAL.cost
    paper: ClassVar[str] = L2RAL.paper
    plan: PredictorPlan = field(default_factory=lambda: PredictorPlan(taps="all", loss="spearman-gru"))


@dataclass(frozen=True)
class Pointwise(PredictedLoss):
    """The loss itself is predicted, by mean squared error, instead of its rank: the papers' ablation."""

    name: ClassVar[str] = "pointwise"
    cost: ClassVar[str] = L2RAL.cost
    paper: ClassVar[str] = "L2R-AL, figure 2; LL4AL, figure 5"
    plan: PredictorPlan = field(default_factory=lambda: PredictorPlan(loss="mse"))


@dataclass(frozen=True)
class LossRank(PredictedLoss):
    """The library's own default: an uncertainty that learns, fitted after training, and batches that differ.

    The prediction begins as the task's own uncertainties and learns in 15 steps, from features and output, what to add:
    it so ranks unseen loss as well as the best score made by hand (RESULTS.md).
    Of the 2 x n samples with the largest predicted loss it takes n by k-center, which gained 1.2 +- 0.7 points over the
    top n on features of CIFAR-10, with clean, wrong and ambiguous answers and among copies (results/label_noise).
    `diversity: none` takes the top n.
    """

    name: ClassVar[str] = "lossrank"
    cost: ClassVar[str] = "a few passes over the labelled, a second of fitting, one pass over the candidates"
    paper: ClassVar[str] = "L2R-AL with the predictor fitted after training on features and output (docs/strategies)"
    plan: PredictorPlan = field(
        default_factory=lambda: PredictorPlan(
            when="after", summary=True, hint_steps=15, steps=300, lists=4, lr=1e-3, weight_decay=0.01
        )
    )
    diversity: str = field(default="k-center", kw_only=True)
