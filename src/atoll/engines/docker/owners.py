"""Whom a container runs as, and that this user has its volumes.

dockerd makes a volume for root, and an image may name its user without a number. Both are settled in a container that is
made and never started, by reading and writing an archive: that asks for no program in the image and no right on the machine.
"""

import io
import tarfile

import aiodocker

from atoll.engines.docker.client import Client
from atoll.engines.docker.container import Owner, Volume, short, volumes
from atoll.engines.docker.names import PATH, Names
from atoll.engines.users import Users
from atoll.model.errors import Permanent
from atoll.model.launch import Launch

_ROOT = {"", "root", "0"}


class Owners:
    """Of one environment's containers."""

    def __init__(self, client: Client, names: Names, users: Users) -> None:
        self._client, self._names, self._users = client, names, users
        self._named: dict[tuple[str, str], Owner] = {}  # (image, user) -> what its own files say
        self._given: set[tuple[str, Owner]] = set()  # volumes that were given to their user since this process began

    async def of(self, launch: Launch) -> Owner:
        """The image's own user unless that is root, else the service's. Raises Permanent when the image knows no such user."""
        assert launch.image is not None
        user, _, group = launch.image.user.partition(":")
        if user not in _ROOT:
            named = await self._named_by(launch, user, group)
            if named.uid != 0:  # root has other names: `00`, or those of an image's own table
                return named
        uid = self._users.uid(launch.service)
        return Owner(uid, uid)

    async def _named_by(self, launch: Launch, user: str, group: str) -> Owner:
        assert launch.image is not None
        key = (launch.image.id, launch.image.user)
        if key not in self._named:
            if user.isdigit() and (group.isdigit() or not group):
                self._named[key] = Owner(int(user), int(group or 0))
            else:
                self._named[key] = await self._look_up(launch, user, group)
        return self._named[key]

    async def give_volumes(self, launch: Launch, owner: Owner) -> None:
        """Have each of its volumes, owned by `owner`. A new one begins with what the image has there; what is in it stays."""
        new = [volume for volume in volumes(launch, self._names) if (volume.name, owner) not in self._given]
        if not new:
            return
        async with self._client.asked(f"make the volumes of {launch.service}") as docker:
            for volume in new:
                labels = self._names.labels("volume", launch.service, **{PATH: volume.path})
                await docker.volumes.create({"Name": volume.name, "Labels": labels})  # type: ignore[no-untyped-call]
            mounts = [{"Type": "volume", "Source": each.name, "Target": each.path} for each in new]
            probe = await self._probe(docker, launch, mounts)
            try:
                await probe.put_archive("/", _folders(new, owner))  # type: ignore[no-untyped-call]
            finally:
                await probe.delete(force=True, v=True)
        self._given |= {(volume.name, owner) for volume in new}

    def forget_volumes(self) -> None:
        """Some were removed: whoever has one of that name next must be given it."""
        self._given.clear()

    async def _look_up(self, launch: Launch, user: str, group: str) -> Owner:
        async with self._client.asked(f"look for the user {user} in an image") as docker:
            probe = await self._probe(docker, launch, [])
            try:
                users, groups = await _table(probe, "passwd"), await _table(probe, "group")
            finally:
                await probe.delete(force=True, v=True)  # an image that declares volumes gets some by being made
        uid = user if user.isdigit() else users.get(user, ("", ""))[0]
        gid = group if group.isdigit() else groups.get(group, ("", ""))[0] if group else users.get(user, ("", "0"))[1]
        if uid.isdigit() and gid.isdigit():
            return Owner(int(uid), int(gid))
        assert launch.image is not None
        image = short(launch.image.id)
        raise Permanent(
            f"{launch.service} cannot be started: there is no user {launch.image.user} in the image {image}",
            "its Dockerfile names that user, and its /etc/passwd or /etc/group does not",
            "add it with `RUN useradd`, or name a number: `USER 1000:1000`",
            id="docker-refused",
        )

    async def _probe(
        self, docker: aiodocker.Docker, launch: Launch, mounts: list[dict[str, str]]
    ) -> aiodocker.containers.DockerContainer:
        assert launch.image is not None
        labels = self._names.labels("probe", launch.service)
        return await docker.containers.create(
            {
                "Image": launch.image.id,
                "Entrypoint": ["-"],
                "Labels": labels,
                "NetworkDisabled": True,
                "HostConfig": {"Mounts": mounts, "NetworkMode": "none"},
            }
        )


async def _table(probe: aiodocker.containers.DockerContainer, name: str) -> dict[str, tuple[str, str]]:
    """Name -> the two numbers of /etc/passwd or /etc/group; of the latter only the first means something."""
    try:
        archive = await probe.get_archive(f"/etc/{name}")
    except aiodocker.DockerError as exc:
        if exc.status == 404:
            return {}
        raise
    file = archive.extractfile(archive.getmembers()[0])
    lines = [line.split(":") for line in file.read().decode("utf-8", "replace").splitlines()] if file else []
    return {line[0]: (line[2], line[3]) for line in lines if len(line) > 3}


def _folders(volumes: list[Volume], owner: Owner) -> bytes:
    """An archive that says whose these are. For their owner alone: databases insist on that."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for volume in volumes:
            entry = tarfile.TarInfo(volume.path.strip("/"))
            entry.type, entry.mode, entry.uid, entry.gid = tarfile.DIRTYPE, 0o700, owner.uid, owner.gid
            archive.addfile(entry)
    return data.getvalue()
