"""The expected-sample manifest: every slot that was due over a batch's stays, in exactly one state."""
