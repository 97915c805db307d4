"""What people and systems state besides links: certificates of calibration, and expectations of a scheduler.

Folds of journal rows, each with versions or replacements in known order.
"""
