"""Who may do what in an environment, and how its API is asked."""

from atoll.model.catalogue.page import Chapter, Page

CHAPTER = Chapter(
    "Access to an environment",
    (
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
    ),
)
