"""`telomere bench judge`: batches judged again after a change of rule, from pieces to excursions.

`made` makes a site (readings in pieces, identities, two versions of each rule), `asking` asks it as the
product does, `peer` asks DuckDB the same over Parquet, `measure` puts them together. Must not be imported
by anything but the command line and tests.
"""
