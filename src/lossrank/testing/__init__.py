"""The conformance suite: what every strategy and every task must do, for your own tests.

    from lossrank.testing import check_strategy, check_task

    def test_mine():
        check_strategy(MyStrategy)

    def test_my_task():
        check_task(MyTask(), inputs=torch.randn(6, 3, 32, 32), answers=["cat", "dog", "cat", "owl", "owl", "dog"])

Both return the checks that were done, in words, and raise `ContractError` (an `AssertionError`) at the first
that fails.
"""

from lossrank.errors import ContractError
from lossrank.testing.strategy import check_strategy
from lossrank.testing.task import check_task
from lossrank.testing.world import World, small_world

__all__ = ["ContractError", "World", "check_strategy", "check_task", "small_world"]
