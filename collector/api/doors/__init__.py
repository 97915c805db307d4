"""Routes through which things come in by hand: files and events of custody."""
