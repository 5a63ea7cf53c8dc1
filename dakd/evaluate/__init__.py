"""From a network to a benchmark table: embeddings, trials, re-ranking, a record of how."""

from dakd.evaluate.embed import extract
from dakd.evaluate.evaluation import PROTOCOL_OF, SETTINGS, check_request, evaluate, setting_name
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
