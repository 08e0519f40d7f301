"""Errors of training that a user can do something about."""

from __future__ import annotations


class TrainingError(RuntimeError):
    """Training cannot go on; the message is one line that says what happened and what to try."""
