"""How the parts are put together: the `telomere` command, the demo site, service files."""
