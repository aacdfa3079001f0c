"""The files that people write: where they lie (`loader`), what may stand in them (`fields_*`), where Atoll's own lie
(`places`), and the page that documents them (`reference`).

The CLI, the daemon and the pipeline call it. It reads files and makes folders; it starts nothing and decides nothing.
"""
