"""From a service's files to an artifact: what goes in, its key, the build, the read-only result.

Called by the CLI (and in CI), no daemon needed; `build.build_all` is the way in. Many processes may build in one
artifacts folder at once. It decides nothing about releases and talks to no daemon.
"""
