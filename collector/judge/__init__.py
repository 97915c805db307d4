"""What a batch felt: coverage, excursions and the history document.

Pure functions of readings, links and rules at one position; knows no store and no clock.
"""
