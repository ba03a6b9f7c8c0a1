"""Measure the tunnel beside two HAProxy hops and a direct connection on this machine.

Run it with ``python -m bench``; ``python -m bench.report RUN.json`` renders a stored run as Markdown.
"""
