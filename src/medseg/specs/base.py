"""What all settings share: they never change after they were built."""

from pydantic import ConfigDict

FROZEN = ConfigDict(frozen=True, extra="forbid")
"""Settings never change after they were built, and unknown names are refused."""
