"""The daemon of one environment: observe, decide, apply, record; and its HTTP API.

`app` starts it under the keeper. It keeps nothing in memory that it cannot rebuild from its store, its host and its
proxy: killing it at any instant fails no request.
"""
