"""Experiments that compare: ablation, recipes, corruptions, and their tables and figures."""
