"""Generates agent skills from fal.ai model ids."""
