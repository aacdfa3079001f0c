"""Replicas as containers of this machine's dockerd, one each.

Owns what is said to dockerd: containers, their output, their ends, the networks of services. Used by `realise` through
`ports.Host`. What has not the label of its environment is somebody else's, and is never touched.
"""

from atoll.engines.docker.host import DockerHost

__all__ = ["DockerHost"]
