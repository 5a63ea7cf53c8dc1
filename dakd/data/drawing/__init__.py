"""Draws the embedded benchmark: people, the conditions of their images, and backgrounds."""
