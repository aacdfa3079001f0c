"""What `atoll dev` is made of: what is watched, a loop per service, and how it is told.

Called by `cli.commands.dev`. A service's loop builds and asks the daemon for a quick deploy, like any other command; it
keeps nothing that must outlive it. All that a person sees passes through one queue, which the main thread reads.
"""
