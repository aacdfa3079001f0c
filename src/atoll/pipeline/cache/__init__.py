"""The result cache: what a task made is found again by its key, on this machine and, where one is configured, on others.

    CACHE/v1/contents/ab/cdef….zst   a file's content, compressed, under the SHA-256 of what it was; shared by all results
    CACHE/v1/index.db                (namespace, key, place) -> the tree of a result, and when it was used
    CACHE/v1/tmp/<id>/               what is being written; locked, so that a dead process's is told from a living one's
    CACHE/v1/lock                    shared by those who read and write, alone with who removes

The rule: **the cache may only ever make a run faster.** Nothing in it is believed before it was checked: each content is
hashed while it is read, each tree is of a form that leaves its folder nowhere. What is damaged is told, dropped and made
anew. A full disk, a remote that is slow, gone or closed is told once and done without. Nobody's credentials are ever in
a text that this package makes.

The other rule: **a run writes under its own namespace only**, also what it fetched (`pipeline.namespace`). So whatever
the run of a pull request does, no row that a trusted run believes comes of it. Contents are shared by all: their names
are their digests, so there is nothing to believe.

`Cache` is what builds use; `upkeep` looks after the folder for `atoll cache`. Nothing here knows what a service is.
"""
