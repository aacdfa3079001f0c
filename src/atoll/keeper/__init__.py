"""The keeper: one tiny process per environment that never lets go of what runs in it.

It owns the environment's processes: the daemon and the proxy ("fixtures", restarted when they die) and one forked
shim per replica. A shim owns its replica's output, exit status and process tree, and outlives the keeper; a new keeper
adopts the shims that it finds. Policy (what should run, when to restart a replica) is the daemon's.

Only `atoll.keeper.client` is for others. Nothing here may import the rest of atoll or anything outside the standard
library: the keeper is forked once per replica, so each module costs memory everywhere.

The wire (`RUN_DIR/keeper.sock`, and `RUN_DIR/r/ID.sock` for the keeper only) is one JSON object a line. A request
carries `n` and `op`; its reply carries the same `n` and either `ok` or `error`. What nobody asked for has an `event`.
"""
