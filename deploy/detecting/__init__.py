"""Detectors on the command line: a log answered row by row, kernels made ready."""
