"""A lab whose environment runs containers, on the dockerd that all tests share."""

import json
from collections.abc import Mapping
from pathlib import Path

from lab import HERE, Lab

from dockerd import Dockerd

ENVIRONMENT = "dev.atoll.environment"


class ContainerLab(Lab):
    """As `Lab`; each service has a Dockerfile upon the base image `runtime`."""

    def __init__(self, folder: Path, first_port: int, dockerd: Dockerd, networks: str) -> None:
        super().__init__(folder, first_port)
        self.dockerd, self.base = dockerd, dockerd.base("runtime")
        with (self.root / "atoll.toml").open("a") as file:
            file.write(f'engine = "docker"\n[docker]\nsocket = "{dockerd.socket}"\nnetworks = "{networks}"\n')

    def service(
        self, name: str, text: str = "", *, env: Mapping[str, str] | None = None, route: str | None = ""
    ) -> None:
        """As for processes, but for where it listens and what runs it."""
        if "run =" not in text:
            text = f'run = ["python3", "-S", "echo_service.py"]\n{text}'
        super().service(name, text, env={"BIND": "{host}", **(env or {})}, route=route)
        (self.root / name / "Dockerfile").write_text(
            f"FROM {self.base}\nWORKDIR /service\nCOPY {HERE.joinpath('echo_service.py').name} .\n"
        )

    def containers(self, name: str = "", *, ended: bool = False) -> list[str]:
        """Docker's ids of the environment's containers, or of one service's."""
        wanted = {one["id"] for one in self.replicas(name)}
        listed = self.dockerd.docker(
            "ps", "--no-trunc", *(["--all"] if ended else []), "--filter", f"label={ENVIRONMENT}",
            "--format", '{{.ID}} {{.Label "dev.atoll.replica"}}',
        )  # fmt: skip
        return [line.split()[0] for line in listed.splitlines() if line.split()[-1] in wanted]

    def replicas(self, name: str = "") -> list[dict[str, object]]:
        services = self.status()["services"]
        return [one for service in services if name in {"", service["name"]} for one in service["replicas"]]

    def inspect(self, container: str) -> dict[str, object]:
        return dict(json.loads(self.dockerd.docker("inspect", container))[0])

    def label(self) -> str:
        """The label of this environment's things, as a filter of Docker."""
        [container, *_] = self.containers()
        labels = json.loads(self.dockerd.docker("inspect", "--format", "{{json .Config.Labels}}", container))
        return f"label={ENVIRONMENT}={labels[ENVIRONMENT]}"

    def left(self, label: str) -> dict[str, list[str]]:
        """What Docker has of this environment."""
        kinds = {"container": ["--all"], "network": [], "volume": []}
        return {
            kind: self.dockerd.docker(kind, "ls", *more, "--quiet", "--filter", label).split()
            for kind, more in kinds.items()
        }
