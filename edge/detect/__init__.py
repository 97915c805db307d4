"""Detectors of the edge: readings in, findings out, pure and strictly causal.

Live data and replay run through the same code in blocks of any size: state, scores and findings depend
on the readings alone, to the bit, whether the kernels are compiled (numba) or not (NumPy). A finding is
advice with a reason; it is never part of a release decision. Must not know clocks, files or sockets.
"""
