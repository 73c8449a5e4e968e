"""The wire client of fal.ai: one method for each call, errors by a table, no retries.

Pure modules (``hosts``, ``urls``, ``replies``, ``catalogue``, ``history``, ``problems``,
``outcomes``, ``sse``) can be imported without httpx; ``client`` is the I/O. Import from the
submodules: this package imports nothing, so that light commands start fast.
"""
