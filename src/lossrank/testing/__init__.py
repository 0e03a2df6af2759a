"""The conformance suite: what every strategy, every task and every model must do, for your own tests.

    from lossrank.testing import check_model, check_strategy, check_task

    def test_mine():
        check_strategy(MyStrategy)

    def test_my_task():
        check_task(MyTask(), inputs=torch.randn(6, 3, 32, 32), answers=["cat", "dog", "cat", "owl", "owl", "dog"])

    def test_my_model():
        check_model(MyModel(), ("layer3", "layer4"), torch.randn(6, 3, 32, 32))

All return the checks that were done, in words, and raise `ContractError` (an `AssertionError`) at the first
that fails.
"""

from lossrank.errors import ContractError
from lossrank.testing.model import check_model
from lossrank.testing.strategy import check_strategy
from lossrank.testing.task import check_task
from lossrank.testing.world import World, small_world

__all__ = ["ContractError", "World", "check_model", "check_strategy", "check_task", "small_world"]
