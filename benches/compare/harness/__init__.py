"""Shared code of the end-to-end benches. It measures processes, removes them, and runs Phase as a user would.

Needs only Python 3.9 or later and its standard library.
"""
