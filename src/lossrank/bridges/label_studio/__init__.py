"""Label Studio, community edition: open questions go there in the order of their rank, answers come back.

Needs urllib3 (the extra `label-studio`); nothing of it is loaded before a server is asked.
"""

from __future__ import annotations

from lossrank.bridges.label_studio.client import KEY, Server
from lossrank.bridges.label_studio.link import NotPushed, is_confirmed, read_link
from lossrank.bridges.label_studio.pull import Pulled, pull
from lossrank.bridges.label_studio.push import Pushed, push

__all__ = ["KEY", "NotPushed", "Pulled", "Pushed", "Server", "is_confirmed", "pull", "push", "read_link"]
