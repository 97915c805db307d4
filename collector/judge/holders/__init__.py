"""What the chain of custody means for a batch: who had it during an excursion, when nobody did."""
