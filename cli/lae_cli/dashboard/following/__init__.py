"""Run folders, followed: from events to columns of numbers."""
