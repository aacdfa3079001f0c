"""Fakes and conformance suites, shipped so that plugins are tested with what Atoll tests itself with.

A fake behaves as the real part does, within its docstring; the suite of a port (`store_suite`, `host_suite`) or of a whole engine (`engine_suite`) is passed by
the fake and by the real thing. The suites need pytest and pytest-asyncio. Nothing at run time imports this package.
"""
