"""What an environment keeps: its database, its secrets, its backups."""

from atoll.model.catalogue.page import Chapter, Page

CHAPTER = Chapter(
    "State, secrets and backups",
    (
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
