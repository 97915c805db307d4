"""The HTTP API: routers over the stores. Must not know how anything was received or projected."""
