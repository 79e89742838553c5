"""What the end-to-end benches share: processes that are measured and cleaned up, Phase as a user runs it, reports.

Python 3.9 or later and its standard library, nothing else.
"""
