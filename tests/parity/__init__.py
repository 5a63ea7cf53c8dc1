"""The package beside numbers that the published code computed; see docs/parity.md.

``python -m tests.parity`` prints the comparison, `tests/test_parity.py` runs it.
"""
