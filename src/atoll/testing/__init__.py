"""Shipped fakes and conformance suites, so that plugins are tested as the built-in adapters are. Imported by tests only."""
