"""The Sparkplug B self-check: our edge and our host, recorded, against every assertion that applies."""
