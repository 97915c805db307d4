"""Limit rules over long histories: in sections, and from where nothing was going on."""
