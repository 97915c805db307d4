"""Sealing in a process of its own, so that receiver and sealer do not share one interpreter."""
