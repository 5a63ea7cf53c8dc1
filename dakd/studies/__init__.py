"""Studies: ablation, reproduction, robustness, and their tables and figures."""
