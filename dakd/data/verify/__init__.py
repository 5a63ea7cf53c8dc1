"""Whether a copy of a dataset is complete, readable, and fit to train and evaluate on."""

from dakd.data.verify.readiness import Readiness
from dakd.data.verify.report import Report, verify
from dakd.data.verify.survey import Problem

__all__ = ["Problem", "Readiness", "Report", "verify"]
