"""What judging needs of the store: a point's samples in sections, and the findings that are kept."""
