"""One package per technology that services are written in; each implements `ports.Builder`.

`pipeline.detect` chooses among them. A builder returns commands as values and runs nothing; it knows the model and the
ports, and no other builder.
"""
