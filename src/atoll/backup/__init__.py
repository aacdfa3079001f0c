"""An environment as one file, and back: what it decided and knows, its secrets sealed, the artifacts of its releases.

`making` writes one, while a daemon writes and deploys go on; `reading` reads one and believes nothing of it unchecked;
`restoring` makes an environment of one, or only tries whether it would; `keys` is the one thing that is kept apart. Called
by `app`. It knows which files of a state folder matter (`manifest`), and nothing of what stands in them but the releases.
What services and stores keep in their own data folders is not in it: a copy of a running database is none.
"""
