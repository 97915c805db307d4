"""How long things are kept: the decision to let old readings go, and the steps in which they do."""
