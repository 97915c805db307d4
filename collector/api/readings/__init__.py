"""Readings of one point over HTTP: pages, buckets, and files of any length."""

from collector.api.readings.asked import info_of
from collector.api.readings.routes import router
from collector.api.readings.values import csv_value, json_value

__all__ = ["csv_value", "info_of", "json_value", "router"]
