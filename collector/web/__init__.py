"""The page: static files served by the collector, without build step and without outside address."""
