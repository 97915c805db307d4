"""Limit rules that both ends evaluate: the gateway as readings come, the collector over history.

Pure. One kernel serves both, so that a finding made on a gateway and an excursion judged at the
collector cannot disagree about the same readings.
"""
