"""The central side: commit, project, link, judge, show, record.

Sees of the gateway only the contract, the rules and the link. Never sees the edge.
"""
