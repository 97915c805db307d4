"""`telomere bench detect`: the detectors against public benchmarks, real logs with faults, and peers.

`config.toml` is the one configuration of every file of every benchmark; its hash is printed beside the
figures. `files` finds and reads the data, which is not part of the project; one module a benchmark scores
strictly causal answers; `speed` times kernels beside STUMPY, river and PySAD; `measure` makes the table.
"""
