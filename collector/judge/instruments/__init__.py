"""What certificates of instruments mean for readings: corrections, expiry, and doubts found later.

Pure, over facts and readings at one position. What is stored is never touched.
"""
