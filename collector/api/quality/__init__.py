"""Routes of quality work: what is done about exceptions, and whether a batch may go on."""
