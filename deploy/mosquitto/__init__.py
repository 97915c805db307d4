"""The broker as it is shipped: configuration, access rules, certificates."""
