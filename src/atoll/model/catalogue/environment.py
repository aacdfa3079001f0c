"""Atoll's own parts (keeper, daemon, Envoy, store) and the machine under them."""

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
            "not-allowed",
            "You lack the role for it",
            "error[not-allowed]: carol may not deploy here",
            "The environment asks the kernel who is at its socket and gives each user the highest role of the groups that it "
            "is in: reader, deployer or admin. A user without any is a stranger and gets no other answer than this. Nothing was "
            "done.",
            (
                "`atoll access` shows your role, what each role may, and which groups hold it.",
                (
                    "Somebody who administers the machine puts you into a group that holds it: `usermod -aG shop-deployers carol`, "
                    "there, as root. Groups are taken on at login: log in anew, and end a shared SSH connection (`ssh -O exit HOST`)."
                ),
                "Which groups hold which role is said on the machine itself, by root alone: `atoll install` with `--deployers`.",
                "On a laptop an environment is for the user who started it, and for root.",
            ),
        ),
        Page(
            "access-unusable",
            "The file that says who may do what cannot be used",
            "error[access-unusable]: access.json cannot be used",
            "`access.json` in the environment's state folder names the groups that hold a role. It cannot be read or understood, or "
            "somebody else than root and the user of the daemon could have written it. Until it is mended only those two may "
            "do anything: a file in doubt gives nobody a role.",
            (
                "Its members are `readers`, `deployers` and `admins`, lists of names of groups; any other is taken for a mistake.",
                "Edited by hand: `chmod 644` and `chown root` it.",
            ),
        ),
        Page(
            "too-many-requests",
            "The daemon is asked too much at once",
            "error[too-many-requests]: you have 64 connections to this environment, which is the most",
            "The daemon keeps its attention for services. A user other than its owner has a number of connections, so that nobody "
            "keeps others out; a command that meets the limit tries again for a while by itself. A token has ten requests a second, "
            "sixty at once, and an address without one far fewer: 429 says after how many seconds to ask again.",
            (
                "Commands that follow (`atoll logs --follow`, `atoll top`, a dashboard) hold a connection each: end some.",
                "A script that asks in a loop: `atoll events --follow` tells of changes by itself.",
            ),
        ),
        Page(
            "token-needed",
            "The API over TCP takes a token",
            "error[token-needed]: this address takes a token",
            "Where `api` of `atoll.toml` says so, the API is read over TCP: by GET, with `Authorization: Bearer TOKEN`. None came, or "
            "one that is not known here; why is not said to whoever asks. Who has one that ended is told so.",
            (
                "An admin makes one: `atoll access token grafana`. It is printed once and belongs to that environment alone.",
                "It ended: tokens are good for 90 days, or what `--expires` said. A new one may have the same name.",
                "It was revoked, or belongs to another environment: `atoll access` lists those there are.",
            ),
        ),
        Page(
            "unknown-token",
            "There is no token of that name",
            "error[unknown-token]: there is no token 'grafna'",
            "Tokens of the read-only API have names; what they are is printed when they are made and never again.",
            ("`atoll access` lists them, with who made each, its end and its last use.",),
        ),
        Page(
            "token-taken",
            "A token of that name is there already",
            "error[token-taken]: there is a token 'grafana'",
            "A token is printed when it is made. What it was is not kept, so it cannot be printed again.",
            (
                "It was lost: `atoll access revoke grafana`, then make it anew.",
                "Give each reader one of its own, so that one can be revoked without the others.",
            ),
        ),
        Page(
            "host-refused",
            "The API does not answer under that name, or to that page",
            "error[host-refused]: 'shop.example.com' is no name of this machine",
            "The read-only API answers under the machine's addresses, `localhost` and the `names` of `api` in `atoll.toml`, and to no page of "
            "another origin: a browser on the machine or in its network could otherwise be led to ask for somebody else.",
            (
                'Add the name: `api = { port = 9180, names = ["atoll.example.com"] }`, then `atoll up`.',
                "A proxy before it must pass the `Host` header on, or send one of these names.",
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
            "other-platform",
            "The artifact was built for another kind of machine",
            "error[other-platform]: payments would not run there: payments is native code for linux-aarch64-glibc2.36, and the "
            "machine is linux-x86_64-glibc2.36",
            "Native code runs on the kind of machine that it was built for, with a C library that is not older. That is "
            "looked at before anything is sent. What has no native code runs anywhere. A container image is for one operating "
            "system and processor, which dockerd is asked about before anything starts; a processor that the kernel has an "
            "interpreter for (QEMU by `binfmt_misc`) will do.",
            (
                'Let CI build it on such a machine, and let both read one remote cache: `cache = "s3://…"` in atoll.toml.',
                'Run `atoll deploy` on the machine itself, in a checkout there; `host = "unix:///…"` names its socket.',
                "Build it in a container of the target's system.",
                "An image that others make: take the digest of its list of platforms (`docker buildx imagetools inspect NAME:TAG`).",
            ),
        ),
        Page(
            "missing-on-machine",
            "The machine lacks something that the service needs",
            "error[missing-on-machine]: web would not run there: it is run by node, which is not on the PATH there",
            "An artifact finds some things outside itself: the interpreter of a virtual environment, the program that `run` "
            "begins with, the toolchain that `[build] tool` chose. They are looked for on the machine before anything is sent.",
            (
                "Install it there: the message has its name and where it was looked for.",
                "Without a version in `[build] tool` the program on the PATH is taken.",
                "Build it where the machine's own versions are: in CI, or on the machine.",
            ),
        ),
        Page(
            "artifact-damaged",
            "An artifact is not what it says",
            "error[artifact-damaged]: contents of an artifact arrived damaged",
            "Everything that is sent has its SHA-256 with it, and is read again before it is used. What differs is never kept.",
            (
                "Try again: what arrived well is not sent anew.",
                (
                    "If it comes back, the disk or the memory of one of the two machines is failing: `atoll cache verify` "
                    "reads what is kept on this one."
                ),
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
        Page(
            "database-busy",
            "The environment's database cannot be used now",
            "state.db cannot be used now: it is locked",
            "Another program holds it, or the disk is full. The daemon tries again; what runs goes on.",
            (
                "Free disk space below `ATOLL_HOME`.",
                "Do not open `state.db` with a tool that writes while the environment runs; read a copy.",
            ),
        ),
        Page(
            "database-damaged",
            "The environment's database, or a row of it, is damaged",
            "error[database-damaged]: The database /home/ada/…/state.db is damaged",
            "It cannot be read as what Atoll wrote: a broken disk, or a hand that changed it.",
            (
                "Put back a copy from before.",
                (
                    "Or begin anew: move `state.db` (and its `-wal` and `-shm`) away, `atoll up`, and deploy each service. "
                    "Secrets lie in a file of their own and stay."
                ),
                (
                    "If it is that file, `vault.db`, which `atoll doctor` tells as `secrets`: put back a copy, or move it away and "
                    "`atoll secret set` each secret; what runs keeps the values that it has until it is started again."
                ),
                "If it is one secret that cannot be opened, set it again: `atoll secret set NAME`.",
            ),
        ),
        Page(
            "database-newer",
            "The database was written by a newer Atoll",
            "error[database-newer]: The database /home/ada/…/state.db was written by a newer Atoll",
            "A newer version has changed its form. An older one cannot read it, and a form never goes back.",
            (
                "Start the newer version; `which -a atoll` shows whether two are installed.",
                (
                    "To stay with the older one: the upgrade left a copy of what was before it, `state.db.` and a number, beside the "
                    "database. The message has the command that puts it back; what happened since the upgrade is forgotten."
                ),
            ),
        ),
        Page(
            "vault-key",
            "The vault's key is missing, damaged, foreign or not private",
            "error[vault-key]: The vault's key /home/ada/…/vault.key is not private",
            "Secrets are sealed with a key in a file beside them that only its owner may read. Without that key nobody "
            "can open them.",
            (
                "It is readable for others: `chmod 600` it.",
                "It is gone or another one: put back the right copy.",
                "There is none: remove the vault that the message names and set every secret again.",
            ),
        ),
        Page(
            "backup-damaged",
            "A backup cannot be used",
            "error[backup-damaged]: the backup shop.production.2026-11-27T02-00-00Z.backup cannot be used",
            "All of a backup is checked before anything is made of it: every file by its digest, and the list of them by a "
            "signature that only the key of its environment can make. Something in this one is not as it was written, or is missing.",
            (
                "It was cut off on its way: copy it again, or take an older one.",
                "`its signature is not that of its key`: somebody who has not the key changed it. Find out who could.",
                "It was refused while it was made, since an artifact had changed: build that service again, then make another one.",
            ),
        ),
        Page(
            "backup-key",
            "The key of a backup is missing, or is another one",
            "error[backup-key]: the key file cannot be used",
            "The secrets in a backup are sealed with a key that is in none: it is in the file that `atoll backup --key` wrote, "
            "sealed with a passphrase. With that key it is also known whether somebody changed the backup.",
            (
                "The passphrase was mistyped, or the file was changed: nobody can tell which.",
                "The key file is of another environment: the message has the names of both keys, and `key_id` stands in the file.",
                "It is lost: `--without-secrets` restores the rest, and each secret is set again.",
                "A new passphrase has 12 characters or more: whoever has the file may try as many as they like.",
            ),
        ),
        Page(
            "environment-not-empty",
            "An environment is there already",
            "error[environment-not-empty]: there is an environment already",
            "A backup is restored into an environment that is not there yet, or is down and to be replaced. One that runs is never "
            "touched.",
            (
                "`atoll down` first, where it runs.",
                (
                    "`atoll restore --replace` moves its files aside and puts those of the backup in their place. What services keep in "
                    "folders of their own stays as it is."
                ),
            ),
        ),
        Page(
            "restore-unfinished",
            "A restore was broken off",
            "error[restore-unfinished]: a restore of this environment was broken off",
            "It was killed, or the machine stopped, while files were put in their places: some are restored, others are not. The "
            "environment does not start like that.",
            (
                "Run the same `atoll restore` once more: it finishes what was begun. What was there before still lies aside.",
            ),
        ),
    ),
)
