"""Every error that a person can meet: one page each, declared once. Pure data.

`atoll explain` prints a page, `docs/troubleshooting.md` is made of all of them, and each error names its own by `id`.
An error, a new one too, needs the id of the thing that a person must understand; look here for one before adding one.

`pages` has them all; `errors`, which every command loads, needs only their `ids`.
"""
