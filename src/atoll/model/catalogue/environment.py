"""Atoll's own parts (keeper, daemon, Envoy) and the machine under them."""

from atoll.model.catalogue.page import Chapter, Page

CHAPTER = Chapter(
    "The environment",
    (
        Page(
            "environment-not-running",
            "The environment is not running",
            "error[environment-not-running]: the environment 'local' is not running",
            "It was never started, or `atoll down` ended it, or the machine was rebooted.",
            (
                "`atoll up` starts it and brings back what was wanted: each service at the release that it had.",
                "Another environment was meant: `--env`, or `ATOLL_ENV`.",
            ),
        ),
        Page(
            "environment-busy",
            "Another `atoll` starts or stops this environment",
            "error[environment-busy]: this environment is being started or stopped by another `atoll`",
            "Starting and stopping are done by one command at a time: half of each would be neither. This one waited "
            "and gave up.",
            ("Wait for the other one. `ps` shows it when it hangs; ending it is safe, `atoll up` mends what it left.",),
        ),
        Page(
            "engine-changed",
            "The engine was changed while services run",
            "error[engine-changed]: 'local' runs on the engine 'process', and atoll.toml says 'docker' now",
            "What runs as processes is not taken over as containers, nor the other way round: replicas, data and what was built are of "
            "one engine. Nothing was changed. A release stays what it was built as: after a change of the engine those of before are "
            "not rolled back to.",
            (
                (
                    "You want the change: `atoll down`, then `atoll up`. Services are away meanwhile, and begin with empty data; "
                    "releases, secrets and history stay. To move without being away, make another environment with that engine."
                ),
                "You do not: write the engine that runs back into `atoll.toml`.",
                "It was not `atoll down` that ended the environment: put the engine back, `atoll up`, `atoll down`, change it then.",
                "`deploy` and `rollback` say it of one release: `atoll deploy SERVICE` makes another one.",
            ),
        ),
        Page(
            "gateway-port-taken",
            "The gateway cannot listen",
            "error[gateway-port-taken]: the gateway cannot listen on 127.0.0.1:8080",
            "The gateway is the one address at which services with a `route` are reached. Nothing was started, since "
            "services that nobody reaches are no success.",
            (
                (
                    "Another program has the port; the message names it. If that is `envoy`, it belongs to another "
                    'workspace: give each a port of its own with `gateway = "127.0.0.1:8090"` in `atoll.toml`.'
                ),
                (
                    "Ports below 1024 are for root, unless it says otherwise: `sysctl -w net.ipv4.ip_unprivileged_port_start=80`, and "
                    "the same as a line in `/etc/sysctl.d`. Or use a higher one, and have the firewall lead the low one there."
                ),
                "The address is none of this machine's.",
            ),
        ),
        Page(
            "certificate-unusable",
            "A certificate of the gateway cannot be used",
            "error[certificate-unusable]: the gateway's certificate cannot be used: /srv/tls/shop.key",
            "The certificate and its key were read and do not belong together, cannot be read, or are of a kind that browsers "
            "and Envoy do not take. A pair that breaks while the gateway serves stops nothing: the last good one stays, and "
            "`atoll status` and the event `certificate.refused` tell.",
            (
                "`cert` must hold the host's own certificate first, then those that it is signed by: `fullchain.pem`, not `cert.pem`.",
                "The key must be of that certificate, without a password, RSA of 2048 bits or more or on P-256, P-384 or P-521.",
                "The user that runs Atoll must be able to read both: certbot's folders are for root only.",
            ),
        ),
        Page(
            "certificate-not-given",
            "The authority gives no certificate",
            "shop.example.com: no certificate was given: ... (attempt 2, the next in 6 min)",
            "The authority was asked by ACME and said no, or could not be reached; its own words are in the message. Atoll tries "
            "again, after two minutes, then six, at most an hour. A certificate that is there goes on serving meanwhile.",
            (
                (
                    "The host's name must lead to this machine (A and AAAA records: a wrong AAAA is asked first), and port 80 of it to "
                    "the port `http` of `tls`: open it in the firewall."
                ),
                "Too many certificates or failures: the authority says when it answers again. Try with its staging directory first.",
                "An authority of one's own: `ca` names the certificates that its directory is trusted by.",
            ),
        ),
        Page(
            "daemon-unreachable",
            "The daemon does not answer",
            "error[daemon-unreachable]: the daemon of 'local' does not answer",
            "The daemon decides; it carries no request. Services go on meanwhile, and its keeper starts it again. Whether "
            "it did what was asked last is not known to this command.",
            (
                "`atoll doctor` and the end of `logs/daemon.log` say why it cannot start, most often a full disk.",
                "Look with `atoll status` or `atoll events` what became of a deploy, then ask again.",
                "`atoll down`, then `atoll up`, starts everything anew.",
            ),
        ),
        Page(
            "daemon-not-ready",
            "The daemon is starting or closing",
            "error[daemon-not-ready]: the daemon is starting",
            "It has just been started, or its successor takes over. That takes a second.",
            ("Try again. If it stays so, `atoll explain daemon-unreachable` has the causes.",),
        ),
        Page(
            "second-daemon",
            "Another daemon leads this environment",
            "error[second-daemon]: Another daemon leads this environment",
            "One daemon writes the state of an environment; a lock and a number that only grows make sure of it. The one "
            "that lost ends at once and has no further effect.",
            (
                "Use the one that runs: the message has its process id.",
                "`ATOLL_HOME` was removed or replaced while the daemon ran. `atoll down`, then `atoll up`.",
            ),
        ),
        Page(
            "keeper-unreachable",
            "The keeper does not answer",
            "error[keeper-unreachable]: the keeper does not answer",
            "The keeper starts and supervises the daemon, Envoy and, through one small shim each, the replicas. While it "
            "is away nothing new is started; what runs goes on.",
            (
                "It comes back by itself: the daemon starts it again. Wait a few seconds.",
                "`logs/keeper.log` says what it met. `atoll up` starts one when there is none.",
                "It was stopped with SIGSTOP (`ps` shows `T`): `kill -CONT` its process.",
            ),
        ),
        Page(
            "docker-unreachable",
            "Docker cannot be reached",
            "Docker could not list containers: dockerd does not answer at /var/run/docker.sock (Connection refused)",
            'An environment with `engine = "docker"` makes images and runs containers by the dockerd of this machine; images '
            "through Docker's own command line, so that its contexts and credentials count. While dockerd is away, containers "
            "that run go on and are reached as before; none is started, replaced or stopped. Atoll asks again each second.",
            (
                "It does not run: `systemctl start docker`; `journalctl -u docker` says why it does not stay.",
                "Its socket is elsewhere: `docker.socket` of the environment in atoll.toml, or `DOCKER_HOST`.",
                "This user may not use it: the group `docker` may. Who is in it is as good as root on this machine.",
                'Containers end with dockerd unless its `daemon.json` has `"live-restore": true`; Atoll starts them again.',
            ),
        ),
        Page(
            "docker-refused",
            "Docker refused, or failed",
            "orders r2 failed: Docker did not make atoll-1f0c33aa-orders-r2-0-k3x9: Conflict. The container name is in use",
            "dockerd understood what Atoll asked for and said no, or tried and failed; the message ends with its own words.",
            (
                (
                    "A name is in use: a container or network of somebody else has a name of Atoll's. Atoll never removes what "
                    "has not its labels; `docker rm` and `docker network rm` do."
                ),
                "What runc says of a mount or a limit most often is the kernel's, and the same for `docker run`.",
                "dockerd's log (`journalctl -u docker`) has what led to it.",
            ),
        ),
        Page(
            "envoy-missing",
            "There is no Envoy that can be run",
            "error[envoy-missing]: there is no Envoy",
            "Every request goes through Envoy. It comes with Atoll as a Python package, which has no build for some "
            "platforms, or is the one that `envoy` of the environment names.",
            (
                (
                    "Install Envoy and name it: "
                    '`envoy = "/usr/local/bin/envoy"` at the top of `atoll.toml`, or under `[environments.NAME]`.'
                ),
                "The file is not executable, or for another processor: try it by hand with `--version`.",
            ),
        ),
        Page(
            "no-free-port",
            "No port is left for a replica",
            "no free port in 20000-29999",
            "Each replica, and each edge of a caller, holds a number of the environment's range from before it starts "
            "until its release is gone.",
            (
                'Widen the range: `ports = "20000-31999"` in `atoll.toml`.',
                "A shorter `[rollout] bake` keeps the release before warm for less time.",
            ),
        ),
        Page(
            "no-free-network",
            "No addresses are left for a service's network",
            "no network of 256 addresses is left in 10.201.0.0/16: 10.0.0.0/8 is routed to tun0",
            "On Docker each service has a network of its own, with 256 private addresses that nothing else on this machine "
            "uses: no other network of Docker, no route, no VPN. They are taken from the environment's `networks`.",
            (
                (
                    'Name other private addresses, which the message has one of: `networks = "10.77.0.0/16"` under '
                    "`[environments.NAME.docker]` in `atoll.toml`; then `atoll down` and `atoll up`."
                ),
                (
                    "`ip route` and `docker network ls` say who has them. `docker network prune` removes networks that nobody "
                    "uses."
                ),
            ),
        ),
        Page(
            "folder-unusable",
            "A folder that Atoll needs cannot be used",
            "error[folder-unusable]: /var/lib/atoll cannot be made",
            "Atoll keeps state, artifacts and logs below `ATOLL_HOME`, and sockets below `ATOLL_RUN`. Each must be an "
            "absolute path to a folder that belongs to the user who runs Atoll.",
            (
                "Set `ATOLL_HOME` and `ATOLL_RUN` to folders that you may write, the same ones for every call of `atoll`.",
                "Somebody else owns it, from a run as root: `sudo chown -R` it to you, or remove it.",
                "The file system is read-only or broken: the message has the kernel's words.",
            ),
        ),
        Page(
            "served-name-taken",
            "Two workspaces of one name on a machine",
            "error[served-name-taken]: /var/lib/atoll/served/my-shop/environments/production belongs to the workspace 'My Shop'",
            "An environment that a machine serves has its folders, its socket and its unit named after the workspace, in small "
            "letters, digits and hyphens. Two workspaces whose names differ in nothing else would share them.",
            (
                'Give one of them another `name` in its `atoll.toml`, such as `name = "shop-two"`, and install that.',
                "The other one is gone for good: remove its folder, which the message names.",
            ),
        ),
        Page(
            "not-installed",
            "This machine does not serve that environment",
            "error[not-installed]: this machine does not serve 'staging' of 'shop'",
            "`atoll uninstall` found neither a unit nor data of that environment.",
            (
                "Another one was meant: the message lists what this machine serves. WORKSPACE is the `name` in atoll.toml.",
                "It was installed with `ATOLL_HOME` set: set it to the same folder again.",
            ),
        ),
        Page(
            "not-root",
            "Only root can do that",
            "error[not-root]: only root can do that",
            "`atoll install` writes a unit of systemd, and what it starts gives each service a user of its own.",
            (
                "Call it with `sudo`. It has a PATH of its own: name the program, `sudo /opt/atoll/bin/atoll install ...`.",
                "Without root, `atoll up` runs an environment for you alone, until the machine is rebooted.",
            ),
        ),
        Page(
            "no-systemd",
            "The machine is not run by systemd",
            "error[no-systemd]: this machine is not run by systemd",
            "`atoll install` writes a unit of systemd, and `/run/systemd/system` is not there: another init, or a container.",
            (
                (
                    "Have your own service manager run `python -m atoll.app.serve WORKSPACE ENVIRONMENT` as root, in the foreground, and "
                    "the same with `--stop` to end it; [how](howto/server.md)."
                ),
                "For an image that is being made, name its root folder: `--root`.",
            ),
        ),
        Page(
            "unit-failed",
            "The service manager says no",
            "error[unit-failed]: `systemctl start atoll-shop-production.service` failed",
            "A command of systemd ended badly; what it said follows. Where a unit did not start, its journal has the reason, with "
            "the last words of Atoll's daemon.",
            (
                "`journalctl -u atoll-shop-production -e` shows why.",
                "The gateway's port is another program's, or a setting of the environment is wrong: correct it, and start the unit again.",
                "Everything that was written stays; `atoll install` again goes on from there.",
            ),
        ),
        Page(
            "disk-full",
            "The disk is full",
            "error[disk-full]: the disk that holds /home/ada/.local/share/atoll is full",
            "Nothing is built, deployed or started again until there is space, since it could not be written down. What "
            "runs goes on.",
            (
                (
                    "Free some space. Artifacts, logs and dependencies below `ATOLL_HOME` take most of it; `atoll doctor` "
                    "says how much is left."
                ),
                "Move `ATOLL_HOME` to a larger disk: `atoll down`, move the folder, set the variable, `atoll up`.",
            ),
        ),
        Page(
            "watch-limit",
            "The kernel watches no more folders for this user",
            "error[watch-limit]: the workspace's 9120 folders cannot be watched",
            "`atoll dev` is told of edits by inotify: a watch a folder, and one instance a program. Editors and other tools of "
            "the same user share both limits. Folders that git ignores are not watched.",
            (
                (
                    "`sudo sysctl fs.inotify.max_user_watches=524288 fs.inotify.max_user_instances=512`; a file with the "
                    "two lines in `/etc/sysctl.d` makes it last."
                ),
                "Name the services that you edit: `atoll dev orders` watches their folders only.",
                "Let .gitignore name folders of generated files.",
            ),
        ),
        Page(
            "socket-path-too-long",
            "The path of a socket is too long",
            "error[socket-path-too-long]: /home/ada/… is too long a path for sockets",
            "The kernel allows 107 bytes for the path of a socket.",
            ("Set `ATOLL_RUN` to a short folder of yours, such as `/run/user/1000/a`.",),
        ),
    ),
)
