"""Compose files -> stacks. `load` is all that others need."""

from deploy.compose.loader import LoadedStack, find, load

__all__ = ["LoadedStack", "find", "load"]
