"""The soak: a site with a truth file, a seeded plan of faults, and a judge that imports nothing of ours."""
