"""Evaluation: embeddings, protocols, re-ranking, and the recorded result."""

from dakd.evaluate.embed import extract
from dakd.evaluate.evaluation import evaluate
from dakd.evaluate.request import PROTOCOL_OF, SETTINGS, check_request, setting_name
from dakd.evaluate.result import Result

__all__ = [
    "PROTOCOL_OF",
    "SETTINGS",
    "Result",
    "check_request",
    "evaluate",
    "extract",
    "setting_name",
]
