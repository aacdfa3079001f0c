"""Why a release was undone, and why a replica is not ready. Shown by `deploy`, `status` and `why`."""

from atoll.model.catalogue.page import Chapter, Page

CHAPTER = Chapter(
    "Starting and staying up",
    (
        Page(
            "candidate-worse",
            "The candidate was worse than the stable release",
            "orders r8 is worse than orders r7: 5.2 % (31 of 596) of its requests failed, 0.1 % (5 of 5310) of the stable",
            "Both got requests in the same seconds, and the candidate failed more of them, or took longer, than chance and "
            "what its file tolerates explain. It was undone by itself.",
            (
                "`atoll rollout show orders` has each test with its numbers; `atoll logs orders` what the candidate printed.",
                (
                    "Is it meant to be so? `[rollout.analysis]` says what is tolerated; `atoll rollout keep orders` keeps "
                    "one candidate all the same."
                ),
                "Does a business error count as a failure? `[failures]` says which answers do.",
            ),
        ),
        Page(
            "rollout-undecided",
            "The candidate could not be judged in time",
            "orders r8 could not be judged: 12 requests were measured, 50 are the least to judge by, within 600 s",
            "Too little came in to tell a good release from a bad one, and its file says that this is a failure "
            "(`on_no_data`, `on_inconclusive`).",
            (
                "Give it longer: `[rollout] deadline`. Or a larger share: `steps`.",
                '`strategy = "rolling"` asks for no verdict before the switch.',
                "`atoll rollout retry orders` tries the same release again.",
            ),
        ),
        Page(
            "crashed",
            "The program ends by itself",
            "orders r2 crashed twice before it was ready: exit code 1",
            "A service runs until it is told to stop. This one ended, with an exit code or by a signal. It is started again "
            "with growing pauses, up to 30 s (a crash loop); a candidate that crashes twice is undone.",
            (
                "Its last lines follow the message; `atoll logs orders` has all, `atoll why orders` the last crash.",
                "`ModuleNotFoundError`: the package is not in `requirements.txt` or `pyproject.toml`.",
                (
                    "`KeyError: 'HOME'`: a service gets no variable that it did not ask for; write it into `[env]`, or "
                    '`inherit = ["HOME"]`.'
                ),
                "`PermissionError` or `Read-only file system`: see `atoll explain read-only-artifact`.",
                "Exit code 0: it started its server in the background and ended. Run it in the foreground.",
                "It was fine before: `atoll rollback orders` goes back to the release before.",
            ),
        ),
        Page(
            "program-not-found",
            "There is no such program",
            "orders r2 crashed once before it was ready: exit code 127 (the shell did not find the command)",
            "`run` names a program that is not on the `PATH` of services, which is the system's and the artifact's, not "
            "your shell's; or the file is not executable.",
            (
                "Write its full path, or make it part of the artifact by a build step.",
                "A script of yours: `chmod +x` it, and let git know (`git update-index --chmod=+x`).",
                "Try it in the same surroundings: `atoll exec orders -- which node`.",
            ),
        ),
        Page(
            "out-of-memory",
            "A replica used more memory than it may",
            "out of memory, limit 256MiB",
            "A replica went over `limits.memory`; it alone was ended, and is started again.",
            (
                "Raise `limits.memory`, or find the leak: `atoll status --json` has each replica's memory.",
                "A runtime sizes itself by the machine: tell it the limit, as with `-Xmx` or `--max-old-space-size`.",
            ),
        ),
        Page(
            "port-not-used",
            "Nothing listens on the service's port",
            "was not ready within 30 s: nothing listens on 127.0.0.1:24817 ('http') yet",
            "The program runs, and does not use the number that it was given.",
            (
                (
                    "It has a port written down, or reads another variable. It must listen on the number in `PORT`; name "
                    'another variable with `ports.http = { env = "LISTEN_PORT" }`, or pass it as an argument: '
                    '`run = "./orders --listen 127.0.0.1:{port}"`.'
                ),
                (
                    "In a container it listens on 127.0.0.1, which there is its own and reached by nobody. `{host}` is where "
                    'to listen on either engine: `env = { HOST = "{host}" }`, or as an argument in `run`.'
                ),
                'It needs longer to start: `health = { ready = "/healthz", start_budget = "2m" }`.',
                'It has no port at all, being a worker: `port = "none"`.',
            ),
        ),
        Page(
            "port-stranger",
            "Another process listens on the replica's port",
            "port 24817 ('http') is not its own: 'python3' (pid 4711) listens there",
            "An answer counts only when the listening socket belongs to the replica's own process tree: a stranger's 200 "
            "must not pass for health.",
            (
                'Something on this machine uses Atoll\'s range. `ports = "21000-21999"` in `atoll.toml` moves it.',
                "The program starts a server in the background and ends. Run it in the foreground.",
            ),
        ),
        Page(
            "probe-failed",
            "The service says that it is not well",
            "was not ready within 30 s: GET /healthz answered 404",
            "The probe of `health` reached the service, and the answer was not one of a service that is ready: a status "
            "below 200 or from 400 on, no answer in time, gRPC other than SERVING, a command that failed.",
            (
                "404: the path in `health` is not one of the service's.",
                "401 or 403: let the path in without a login, or send what it wants with `headers` of the probe.",
                "500 or 503: the service is not well, often since something that it needs is missing: `atoll logs orders`.",
                "No answer within the probe's `timeout`: readiness should not do work.",
                'Without such a path `health = "tcp"` waits for the port only.',
            ),
        ),
        Page(
            "not-ready-in-time",
            "The replicas were not ready in time",
            "orders r2 was not ready within 30 s",
            "A candidate has `health.start_budget` (30 s) to become ready. It had no better reason than time.",
            (
                "It needs longer: `start_budget` under `[health]`.",
                (
                    "It waits for something: `atoll logs orders`. A service that waits for another should start, and say that "
                    "it is not ready."
                ),
            ),
        ),
        Page(
            "not-stable",
            "It was ready, but not for long enough",
            "orders r2 was ready, but not for 1 s without a break",
            "A replica gets traffic once it stayed ready through `health.stable_for`: services are known to say ready, "
            "then to crash.",
            (
                "Its readiness comes and goes: `atoll logs orders`. The words behind the message are the probe's.",
                "It is ready before it can serve: let the path of `health` answer 503 until then.",
            ),
        ),
        Page(
            "liveness-lost",
            "A replica stopped living",
            "liveness lost: no answer within 1 s",
            "`health.live` failed several times in a row, after it had been ready. The replica is replaced.",
            (
                "It hangs: a deadlock, or an endless loop. `atoll logs orders` has its last lines.",
                (
                    "The probe is too strict. Without `live` the process being alive is enough, which is right for most: a "
                    "liveness that asks a database restarts everything when the database is slow."
                ),
            ),
        ),
        Page(
            "proxy-not-acknowledged",
            "The proxy did not take a change",
            "the proxy did not take the switch to orders r2: duplicate domain",
            "Traffic moves only when Envoy has acknowledged it. It refused, or did not answer in time; the stable release "
            "kept the traffic.",
            (
                (
                    "Envoy refused: its words follow. Two `host` routes of one name, or an address of the machine that it "
                    "cannot listen on, are the usual causes; else please report it."
                ),
                "Envoy is down or overloaded: `atoll doctor`, and `logs/proxy.log`. The keeper starts it again.",
            ),
        ),
        Page(
            "read-only-artifact",
            "The service cannot write its own folder",
            "OSError: [Errno 30] Read-only file system: 'orders.db'",
            "`PermissionError` or `Read-only file system`: the artifact is read-only, since every replica of a release must "
            "find the same.",
            (
                'Keep files in the service\'s own folder: `DATABASE = "{data}/orders.db"` under `[env]`.',
                "Temporary ones go into `/tmp`.",
            ),
        ),
    ),
)
