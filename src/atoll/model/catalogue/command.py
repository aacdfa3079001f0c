"""The command line, and the files that it writes."""

from atoll.model.catalogue.page import Chapter, Page

CHAPTER = Chapter(
    "The command line",
    (
        Page(
            "usage",
            "The command line was not understood",
            "error[usage]: there is no command 'deplyo'; did you mean 'atoll deploy'?",
            "A command, an option or an argument is not what `atoll` knows. Nothing was done.",
            (
                "`atoll --help` lists the commands, `atoll deploy --help` the options of one with an example.",
                "A value is of another form: a time is `10m` or `2026-05-01T12:00`, a release is `r7`.",
                (
                    "An argument that begins with a hyphen, or a command of your own, goes behind `--`: "
                    "`atoll exec orders -- ls -la`."
                ),
            ),
        ),
        Page(
            "bug",
            "Atoll made a mistake",
            "error[bug]: atoll made a mistake",
            "Something happened that nobody foresaw. Services that run go on running: they do not depend on the "
            "command that failed, nor on the daemon.",
            (
                (
                    "Please report it with the traceback above it, or, when the daemon made it, with the end of "
                    "`logs/daemon.log` (`atoll doctor` says where that is)."
                ),
                "Until then: `atoll doctor` shows whether the machine has its part in it, such as a full disk.",
            ),
        ),
        Page(
            "no-workspace",
            "No workspace here",
            "error[no-workspace]: there is no atoll.toml in /home/ada or above",
            "Atoll works on a workspace: a folder, usually a repository, with an `atoll.toml` at its top and services below.",
            (
                "Go into it, or name it with `--workspace` or `ATOLL_WORKSPACE`.",
                (
                    "Make one of a repository with `atoll init`, which writes the files from what it finds, or by hand: "
                    "`touch atoll.toml` at its top."
                ),
            ),
        ),
        Page(
            "unknown-environment",
            "The workspace has no environment of that name",
            "error[unknown-environment]: no environment 'prod'",
            "`--env`, `ATOLL_ENV` or a table below `[env]` names an environment that `atoll.toml` does not declare. Only "
            "`local` needs no declaration.",
            (
                "Declare it: `[environments.production]` in `atoll.toml`; the table may be empty.",
                (
                    "A table in the `[env]` of a service is for the environment of that name. If no environment was meant, "
                    'write the variables directly below `[env]`, or a secret as `NAME = { secret = "orders-db" }`.'
                ),
            ),
        ),
        Page(
            "unknown-service",
            "There is no service of that name",
            "error[unknown-service]: there is no service 'order'",
            "The name is neither that of a folder with a `service.toml` nor of a service that was ever deployed in this "
            "environment. Each environment knows only what was deployed in it.",
            (
                "`atoll check --json` lists the names in the files, `atoll status` those that were deployed.",
                "It was never deployed here: `atoll up orders`.",
                "A service's name is that of its folder unless `name` says otherwise.",
            ),
        ),
        Page(
            "unknown-release",
            "There is no such release any more, or there never was",
            "error[unknown-release]: orders has no release r9",
            "Releases are numbered per service. Old ones, and failed ones, are dropped after a while; a rollback needs one "
            "that is kept.",
            (
                "`atoll releases orders` lists what is kept.",
                (
                    "To go back further, check out the commit and `atoll deploy orders`: the same inputs give the same "
                    "artifact, mostly without a new build."
                ),
            ),
        ),
        Page(
            "unknown-replica",
            "There is no such replica now",
            "error[unknown-replica]: orders has no running replica 'orders-r7-0-k3x9'",
            "A replica's name holds for one process. It is gone after a crash, a deploy or a scale-down.",
            ("`atoll status --json` has the names of those that run; leave the name out to get any ready one.",),
        ),
        Page(
            "unknown-operation",
            "There is no such operation",
            "error[unknown-operation]: there is no operation 'orders-5f0c'",
            "An operation is one rollout. Its row is dropped a while after its end; the receipt stays.",
            ("`atoll releases orders` has the receipts, `atoll events` what happened.",),
        ),
        Page(
            "not-confirmed",
            "A destructive command was not confirmed",
            "error[not-confirmed]: nobody is there to confirm",
            "Outside `local`, what stops services asks for the environment's name. Without a terminal nobody can type it.",
            ("In a script add `--yes`. At a terminal type the environment's name as it is shown.",),
        ),
        Page(
            "nothing-to-adopt",
            "Nothing was found to make services of",
            "error[nothing-to-adopt]: no service was found in /home/ada/shop",
            "`atoll init` reads Compose files, Procfiles and build files, and found none that says how something is run.",
            (
                "Name the Compose file: `atoll init --from deploy/compose.yaml`.",
                (
                    "Write a `service.toml` yourself in the service's folder; three lines are enough:\n"
                    '`run = "node server.js"`, `health = "/healthz"`, `route = "/orders"`.'
                ),
            ),
        ),
        Page(
            "already-a-workspace",
            "The folder lies in a workspace already",
            "error[already-a-workspace]: /home/ada/shop/web lies in a workspace already",
            "An `atoll.toml` stands above. A workspace within a workspace would leave it unclear whose a service is.",
            ("Run `atoll init` at the top of the workspace: it adds what is missing and overwrites nothing.",),
        ),
        Page(
            "would-overwrite",
            "Files are there already",
            "error[would-overwrite]: ejected/compose.yaml is there already",
            "Commands that write files never overwrite one.",
            ("Name another folder with `--to`, or move the old files away.",),
        ),
        Page(
            "cannot-write",
            "A file cannot be written",
            "error[cannot-write]: web/service.toml cannot be written",
            "The folder belongs to somebody else, is read-only, or the disk is full.",
            ("Make the folder writable for the user who runs `atoll`, and try again: what was written already stays.",),
        ),
        Page(
            "bad-request",
            "The daemon does not understand a request",
            "error[bad-request]: the request is not understood",
            "Something spoke to the API in a form that it does not take.",
            (
                "From a program of yours: `GET /openapi.json` at the daemon's socket says what is asked.",
                "From `atoll` itself: client and daemon are of different versions, see `atoll explain versions-differ`.",
            ),
        ),
        Page(
            "versions-differ",
            "Client and daemon are of different versions",
            "error[versions-differ]: the daemon's answer is not understood",
            "The `atoll` that you call is newer or older than the daemon that runs, and one of them says what the other does "
            "not know. What both know works all the same.",
            (
                (
                    "The message says which is behind. `atoll up` of the newer one upgrades a daemon on this machine while services "
                    "go on; docs/howto/upgrade.md has the other cases."
                ),
                "Two installations are on the `PATH`: `which -a atoll` lists them.",
            ),
        ),
    ),
)
