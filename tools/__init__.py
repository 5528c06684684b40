"""Checks and helpers of the working copy; none of this is installed."""
