"""Why a request was refused before anything was touched."""

from atoll.model.catalogue.page import Chapter, Page

CHAPTER = Chapter(
    "Deploying",
    (
        Page(
            "already-deploying",
            "The service is being deployed already",
            "error[already-deploying]: orders is being deployed already",
            "One rollout of a service at a time; the rollout is its lock.",
            (
                "`atoll status --watch` shows it. One that never gets ready ends by itself after its `start_budget`.",
                "Once it is live, `atoll rollback orders` takes it back in a moment.",
            ),
        ),
        Page(
            "changed-meanwhile",
            "Somebody changed the service meanwhile",
            "error[changed-meanwhile]: orders has changed meanwhile",
            "The request was made for a state that is no longer so. Nothing was done.",
            ("Look at `atoll status`, then ask again.",),
        ),
        Page(
            "already-current",
            "That release has the traffic already",
            "error[already-current]: orders r7 already has the traffic",
            "There is nothing to go back to: it is where it was asked to go.",
            (
                "`atoll releases orders` lists the others. To replace its replicas by fresh ones: `atoll restart orders`.",
            ),
        ),
        Page(
            "does-not-fit",
            "The release does not fit into memory",
            "error[does-not-fit]: orders r7 does not fit into memory",
            "A deploy runs the new replicas beside the old ones. Together with `limits.memory` of everything that runs "
            "they would need more than the machine has.",
            (
                "Lower `limits.memory` or `replicas`.",
                "Set `overlap = false`: then the old ones end first, and requests wait meanwhile.",
                "Stop another service: `atoll down NAME`.",
            ),
        ),
        Page(
            "not-possible-here",
            "The service asks for what this machine cannot give",
            "error[not-possible-here]: legacy cannot run here",
            "What an environment cannot keep is refused before anything starts, never ignored. A port with a `number`, for "
            "one, needs a network of its own for each replica.",
            (
                "The message says what is missing and what would help; `atoll doctor` checks it.",
                "Leave out of the file what asks for it: a program that can read `PORT` needs no `number`.",
            ),
        ),
        Page(
            "frozen",
            "Deploys are frozen now",
            "error[frozen]: orders is not deployed now",
            "The environment's file names times at which nothing new is deployed. Going back and `atoll up` are never frozen.",
            (
                'Wait, or say why it must go ahead, for the ledger: `atoll deploy orders --override-freeze "fixes the outage"`.',
            ),
        ),
        Page(
            "gate-shut",
            "A task that the environment requires is not green",
            "error[gate-shut]: orders is not deployed: orders.test has no green record for these files (key 4af3c1d2)",
            "`require` in atoll.toml names tasks. What is deployed must have passed them with exactly these files, and the "
            "environment must have a record of it. Records of pull requests do not count; going back is never asked.",
            (
                "Run them here: `atoll ci orders`. `atoll deploy` then hands the records over by itself.",
                "They passed in your CI: `atoll records export > FILE` there, `atoll records import FILE` here.",
                "They passed with other files: what you deploy is not what was tested. Look at `git status`.",
                'Say why it must go ahead, for the ledger: `atoll deploy orders --override-gate "the test server is down"`.',
            ),
        ),
        Page(
            "fault-refused",
            "Faults are not injected here",
            "error[fault-refused]: faults are not injected into 'production'",
            "`atoll fault` breaks things on purpose. Outside `local` that must be allowed by the environment's file.",
            ("`faults = true` under `[environments.NAME]` in atoll.toml, then `atoll up`.",),
        ),
        Page(
            "not-for-development",
            "This environment is not meant for development",
            "error[not-for-development]: 'production' is not meant for development",
            "`atoll dev` releases each edit at once, all traffic in one step, and watches nothing after. Outside `local` that "
            "must be allowed by the environment's file.",
            (
                "`atoll deploy` lets a release earn its traffic.",
                "`dev = true` under `[environments.NAME]` in atoll.toml, then `atoll up`.",
            ),
        ),
        Page(
            "reload-failed",
            "The command of `dev.reload` failed",
            "orders the command of `dev.reload` failed: exit code 1",
            "`atoll dev` runs it after each edit of a service that runs in its own folder, for each replica, with the replica's "
            "variables and `PID`. The replica goes on with what it had loaded.",
            (
                "`atoll exec orders -- COMMAND` runs it the same way, but for `PID`.",
                (
                    "A signal reaches what `dev.run` starts. With `sh -c` that may be the shell: begin the command with `exec`, "
                    "or write it as a list."
                ),
            ),
        ),
        Page(
            "no-rollout",
            "No rollout is under way",
            "error[no-rollout]: no rollout is under way",
            "Pausing, resuming, promoting, aborting and keeping are words to a rollout that moves or is in its bake; trying "
            "again is for one that was undone.",
            ("`atoll rollout show orders` shows the last one.", "`atoll deploy orders` begins another."),
        ),
        Page(
            "too-late-to-steer",
            "All of the traffic is on its way already",
            "error[too-late-to-steer]: r8 cannot be told to pause",
            "A rollout can be held at a step. Once all of the traffic moves there is no step left to hold it at.",
            ("`atoll rollback orders` takes it back; while the old release is warm that is a moment's work.",),
        ),
        Page(
            "one-at-a-time",
            "The service allows one instance only",
            "error[one-at-a-time]: orders cannot run 2 replicas",
            "Its file says `overlap = false`: two instances must never run at once, as for a scheduler or a writer of SQLite.",
            ("Scale it to 1, or take `overlap` out of its file if two do no harm.",),
        ),
        Page(
            "service-down",
            "The service is down",
            "error[service-down]: orders is down",
            "It was stopped, or scaled to 0. There is no replica to restart or to run a command beside.",
            ("`atoll up orders` starts it. `atoll why orders` says why it is down.",),
        ),
        Page(
            "secret-missing",
            "A secret that the service needs is not set",
            "error[secret-missing]: orders needs the secret 'orders-db'",
            "Each environment has its own secrets; none is copied from another.",
            ("Set it: `atoll secret set orders-db`, with `--env production` for that one.",),
        ),
        Page(
            "unknown-secret",
            "There is no such secret",
            "error[unknown-secret]: there is no secret 'orders-bd'",
            "It was never set in this environment, or was removed.",
            ("`atoll secret list` shows those of this environment; `--env` names another.",),
        ),
        Page(
            "secret-in-use",
            "The secret is in use",
            "error[secret-in-use]: secret 'orders-db' is in use",
            "A release that runs names it; without it no replica could be started again.",
            ("Deploy the services that the message names without it, then remove it.",),
        ),
        Page(
            "store-not-here",
            "A store that Atoll is to run cannot be run here",
            "error[store-not-here]: the store orders-db needs a postgres server, and this machine has none",
            "A store without a `url` is run by Atoll: in an environment of processes with the server that the machine has, in "
            "one of containers from an image.",
            (
                "Install the server: on Debian and Ubuntu the packages postgresql, redis-server and nats-server.",
                "None of them has to run by itself, as Debian has it: `sudo systemctl disable --now postgresql`.",
                'Say where one is that somebody else runs: `[stores.orders-db] url = "postgres://..."`.',
                'Let containers run: `engine = "docker"` of the environment.',
            ),
        ),
        Page(
            "store-in-use",
            "The store is in use",
            "error[store-in-use]: the store orders-db is in use",
            "Its data are removed only when it is down, and no service that runs uses it.",
            (
                "Stop it, and those that the message names: `atoll down orders orders-db`.",
                "Deploy the services without it: take it out of their `[stores]`.",
            ),
        ),
        Page(
            "store-removed",
            "The store of a release was removed",
            "error[store-removed]: orders r3 uses the store orders-db, which was removed",
            "`atoll store remove` erased it with its data, and a release of before cannot bring it back. `atoll up` and `atoll "
            "deploy` make a store that the files name anew: empty, with another password.",
            (
                "See what the files say: `atoll store list`.",
                "Start the service as its files say now: `atoll up orders`, or `atoll deploy orders`.",
            ),
        ),
        Page(
            "secret-invalid",
            "A secret's name or value cannot be taken",
            "error[secret-invalid]: the value of 'orders-db' is empty",
            "A name has letters, digits, `-`, `_` and `.`, and begins with a letter or a digit. A value is text that fits "
            "into an environment variable: not empty, no NUL, UTF-8, not larger than the message says.",
            (
                "The value comes from standard input: pipe it, or type it when asked.",
                "Bytes that are no text: encode them with base64, and decode them in the service.",
            ),
        ),
        Page(
            "requests-failed-meanwhile",
            "Requests failed during a deploy",
            "requests  998 requests meanwhile, 3 failed",
            "The receipt counts every answer of the service that was 5xx or none, also those that failed for reasons of its own.",
            (
                "Look at the release before: `atoll status` shows its rate of errors.",
                "Requests that take longer than `stop.drain` (30 s) are cut.",
            ),
        ),
    ),
)
