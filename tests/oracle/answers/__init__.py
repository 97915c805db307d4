"""Answers recorded while a site is busy, asked again in a new process after all was made anew."""
