"""`python -m lossrank`, which is also what `accelerate launch -m lossrank` starts."""

import sys

from lossrank.cli import main

sys.exit(main())
