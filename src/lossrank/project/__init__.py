"""A project: a person's pictures, a ledger of questions and answers, and a model that says what to ask next."""

from __future__ import annotations

from lossrank.project.ingesting import Ingested
from lossrank.project.layout import Layout
from lossrank.project.project import Project
from lossrank.project.status import Status

__all__ = ["Ingested", "Layout", "Project", "Status"]
