"""What can be wrong between a command and an environment on another machine, and with what is sent there."""

from atoll.model.catalogue.page import Chapter, Page

CHAPTER = Chapter(
    "Environments on other machines",
    (
        Page(
            "ssh-unreachable",
            "The machine cannot be reached",
            "error[ssh-unreachable]: deploy@vm1 cannot be reached",
            "Commands reach an environment with a `host` by the system's own ssh; the message ends with what that said. What was "
            "begun over there goes on without this command.",
            (
                "`ssh vm1` on a terminal must get there, too. Names, ports, jump hosts and keys are as ssh's configuration says.",
                "The machine or the network between is away. A command that was connected before tries again for ten minutes.",
                'Another port or user: `host = "ssh://deploy@vm1:2222"`.',
            ),
        ),
        Page(
            "ssh-denied",
            "The machine does not let you in",
            "error[ssh-denied]: deploy@vm1 does not let you in",
            "sshd takes none of the keys that ssh has. Atoll has no accounts or tokens of its own: who may log in may ask, and what "
            "that user may do is decided there.",
            (
                "Put your public key into `~/.ssh/authorized_keys` of that user there, or into whatever its sshd reads.",
                "The key is in no agent here: `ssh-add -l`. In CI, load it into an agent first.",
                "Where ssh must ask for something, run the command on a terminal once; others find the connection for ten minutes.",
            ),
        ),
        Page(
            "ssh-host-key",
            "The machine's key is not known, or has changed",
            "error[ssh-host-key]: deploy@vm1 may not be the machine that you mean",
            "ssh compares the machine's key with the one that it knows, so that nobody takes its place. Without a terminal it "
            "accepts no new one.",
            (
                "`ssh vm1` once, on a terminal, shows the key's fingerprint to compare. In CI, write `known_hosts` from a variable.",
                "It has changed: a machine that was made anew, or somebody between. Only when you know: `ssh-keygen -R vm1`.",
            ),
        ),
        Page(
            "forwarding-refused",
            "The machine forwards to no sockets",
            "error[forwarding-refused]: deploy@vm1 forwards to no sockets",
            "The daemon listens on a unix socket of its machine; ssh leads there. This sshd has that switched off, for all or for "
            "this user or key.",
            (
                "In `sshd_config` there: `AllowStreamLocalForwarding yes` and `DisableForwarding no`, also in a `Match` of this user.",
                "A key with `restrict` before it in `authorized_keys` needs `port-forwarding` behind that.",
            ),
        ),
        Page(
            "no-daemon-there",
            "No daemon answers on that machine",
            "error[no-daemon-there]: no daemon answers on deploy@vm1",
            "ssh got to the machine, and nobody answers at the socket of the environment's API.",
            (
                "Nothing is installed there (`atoll install`), or its unit does not run: `systemctl status 'atoll-*'` on that machine.",
                "It is another socket: name it in `host`, such as `ssh://deploy@vm1/run/atoll/shop.production.sock`.",
                "The user is in none of the groups that may use the socket; `id` there shows them.",
            ),
        ),
        Page(
            "another-environment",
            "That is another environment's daemon",
            "error[another-environment]: the daemon at ssh://deploy@vm1 is of 'staging', not 'production'",
            "`host` leads to a daemon that keeps another environment, or another workspace, than this command is for. Nothing was "
            "changed.",
            ("Correct `host` of the environment in atoll.toml, or what `--host` or `ATOLL_HOST` says instead of it.",),
        ),
        Page(
            "not-from-here",
            "That is done on the machine itself",
            "error[not-from-here]: `atoll dev` does not work on another machine",
            "An environment on another machine is started and ended by that machine's service manager, and its services have no "
            "files of this one.",
            (
                "`atoll dev` and all that works with files of this machine: in `local`.",
                "To start or end all of it: `systemctl start` and `systemctl stop` of its unit, there.",
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
    ),
)
