"""PostgreSQL: initialised once, with one superuser whose password is asked for by SCRAM on every connection.

The same script starts it as a process and in an image: it finds the programs, makes the data when there are none, and
sets the password to the present one. It refuses data of another major version, which only pg_upgrade can read.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from atoll.model.spec import Command, Health, Port, Probe, RenderedFile, Server, ServiceSpec, Stop
from atoll.model.store_url import password_of
from atoll.servers.programs import Program, first, with_system

PROGRAM = "postgres"
PACKAGE = "postgresql"
IMAGE = "postgres:16"
USER = "postgres"  # of every image that has a server: initdb wants a user with a name
NUMBER = 5432
_DEBIAN = Path("/usr/lib/postgresql")  # a folder for each major version
# A start-up message of protocol 3.0, which a server that takes connections answers with a question for the password, and
# one that is not ready yet with an error. Nothing is logged of it.
_HELLO = "\0\0\0\x14\0\3\0\0user\0atoll\0\0"

_SCRIPT = r"""set -eu
umask 077
user='@USER@' base='@DATABASE@' wanted='@VERSION@'
data="{data}/postgres"
fail() { echo "$*" >&2; exit 1; }

# The programs: of the version that made the data, else of the one that is asked for, else the newest.
have=
if [ -f "$data/PG_VERSION" ]; then have=$(cat "$data/PG_VERSION"); fi
bin=
for each in $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -rV) $(echo "$PATH" | tr : ' '); do
    [ -x "$each/postgres" ] && [ -x "$each/initdb" ] || continue
    major=$("$each/postgres" --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/')
    case "$wanted." in "$major."* | .) ;; *) continue ;; esac
    if [ -n "$have" ] && [ "$have" != "$major" ]; then continue; fi
    bin=$each
    break
done
if [ -z "$bin" ] && [ -n "$have" ]; then
    fail "the data are of PostgreSQL $have, and there is no such server here${wanted:+ that is a $wanted}: install it, or move the data with pg_dump or pg_upgrade"
fi
[ -n "$bin" ] || fail "there is no PostgreSQL server $wanted here"

# initdb and the single-user mode want their user to have a name, which one of a service has not.
named() {
    if id -un >/dev/null 2>&1; then "$@"; return; fi
    wrapper=$(ls /usr/lib/*/libnss_wrapper.so /usr/lib/libnss_wrapper.so 2>/dev/null | head -n 1)
    if [ -n "$wrapper" ]; then
        echo "atoll:x:$(id -u):$(id -g)::/:/bin/false" >"{data}/passwd"
        echo "atoll:x:$(id -g):" >"{data}/group"
        LD_PRELOAD=$wrapper NSS_WRAPPER_PASSWD="{data}/passwd" NSS_WRAPPER_GROUP="{data}/group" "$@"
    else
        unshare --user --map-user=nobody -- "$@"
    fi
}
alone() { named "$bin/postgres" --single -D "$1" -c log_min_error_statement=panic -c log_checkpoints=off postgres; }

# A server that was killed leaves its lock. PostgreSQL believes one whose number is taken, by a zombie or by anybody of this
# user, and never starts again. The server's own folder is its data; else the lock is given a number that nobody can have.
# It stays, for it also names the shared memory by which PostgreSQL finds children of the dead one that still write.
lock=$data/postmaster.pid
if [ -f "$lock" ] && [ "$(readlink "/proc/$(head -n 1 "$lock")/cwd")" != "$(readlink -f "$data")" ]; then
    sed -i '1s/.*/2147483647/' "$lock"
fi

if [ -z "$have" ]; then
    rm -rf "$data.new"
    named "$bin/initdb" -D "$data.new" --username="$user" --pwfile="{files}/password" --auth=scram-sha-256 \
        --encoding=UTF8 --locale=C.UTF-8 --no-instructions >/dev/null || fail "initdb failed"
    mv "$data.new" "$data"
fi
# The password of today, and a user and database that the file named later. All by standard input: an argument is seen.
{
    printf "DO 'BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = ''%s'') THEN CREATE ROLE \"%s\" SUPERUSER LOGIN; END IF; END';\n" "$user" "$user"
    printf "ALTER ROLE \"%s\" PASSWORD '%s';\n" "$user" "$(sed "s/'/''/g" "{files}/password")"
    printf "SELECT datname FROM pg_database WHERE datname = '%s';\n" "$base"
} | alone "$data" >"{data}/said"
if ! grep -q "\"$base\"" "{data}/said"; then
    printf 'CREATE DATABASE "%s" OWNER "%s";\n' "$base" "$user" | alone "$data" >/dev/null
fi
rm -f "{data}/said"
exec "$bin/postgres" -D "$data" -c listen_addresses={host} -c port={port} -c unix_socket_directories= \
    -c hba_file="{files}/pg_hba.conf" -c ident_file="{files}/pg_ident.conf" -c log_line_prefix='%m [%p] %q%u@%d '
"""


def find(version: str, search: Sequence[str]) -> Program | None:
    """The newest server that fits: Debian keeps them out of the PATH, one folder a major version."""
    debian = sorted(_DEBIAN.glob("*/bin"), key=lambda path: int(re.sub(r"\D", "", str(path)) or 0), reverse=True)
    return first(PROGRAM, [*map(str, debian), *with_system(search)], version)


def service(name: str, server: Server, program: Program | None) -> ServiceSpec:
    """The server as a service."""
    del program  # the script looks for itself: the data may want another than is the newest now
    script = _SCRIPT
    for mark, text in (("USER", server.user), ("DATABASE", server.database), ("VERSION", server.version)):
        script = script.replace(f"@{mark}@", text)
    return ServiceSpec(
        name=name,
        run=Command(argv=("/bin/sh", "{files}/start.sh")),
        ports=(Port(name="tcp", protocol="tcp"),),
        files={
            "start.sh": RenderedFile(text=script),
            "password": RenderedFile(text=f"{{secret.{password_of(name)}}}"),
            "pg_hba.conf": RenderedFile(text="host all all all scram-sha-256\n"),
            "pg_ident.conf": RenderedFile(text=""),
        },
        health=Health(ready=Probe(kind="tcp", send=_HELLO, expect="R")),
        stop=Stop(signal="SIGINT"),  # fast: SIGTERM would wait until every client has gone
    )
