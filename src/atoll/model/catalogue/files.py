"""What can be wrong in atoll.toml, in a service.toml, and in files that Atoll reads beside them."""

from atoll.model.catalogue.page import Chapter, Page

CHAPTER = Chapter(
    "The files",
    (
        Page(
            "invalid-files",
            "The workspace's files have mistakes",
            "error[invalid-files]: 2 problems in the workspace's files",
            "Nothing is built or deployed while any file of the workspace has a mistake: services fit together, or they "
            "do not.",
            ("`atoll check` shows all of them at once, each with its file, line, id and fix.",),
        ),
        Page(
            "not-toml",
            "A file is not TOML",
            "orders/service.toml:3: is not TOML: expected '=' after a key in a key/value pair",
            "The file cannot be read at all. The message has the parser's words and the line.",
            (
                'A text stands in quotes: `run = "node server.js"`.',
                "TOML writes `=` where YAML writes `:`.",
                "A key or a table may be given once only.",
            ),
        ),
        Page(
            "file-unreadable",
            "A file cannot be read",
            "orders/service.toml: cannot be read: Permission denied",
            "It is missing, belongs to somebody else, is larger than settings ever are, or is not UTF-8 text.",
            (
                "Make it readable for the user who runs `atoll`.",
                "A link that leads nowhere: check out what it points to, or remove it.",
                "Save it as UTF-8; the message has the byte that is not.",
            ),
        ),
        Page(
            "file-not-understood",
            "A file is not what its name says",
            "error[file-not-understood]: web/package.json cannot be read",
            "A build file, a lock file or a Compose file does not parse. The message has the parser's words.",
            ("Correct it; the tool that it belongs to (npm, cargo, poetry, docker compose) says the same of it.",),
        ),
        Page(
            "unknown-field",
            "There is no such field",
            "orders/service.toml:2: helth is not a field of service.toml",
            "Nothing is guessed, and nothing unknown is ignored: a mistyped field would silently not be there.",
            (
                "The fix names the nearest field; the reference has all of them, and `atoll schema` makes editors complete them.",
                "The field is of a newer version: `atoll version`.",
                "It stands below the wrong table: in TOML a key belongs to the last `[table]` above it.",
            ),
        ),
        Page(
            "missing-field",
            "A field that is needed is missing",
            "orders/service.toml: run is missing",
            "A service needs to say how it is run; everything else has a default.",
            (
                'Write it: `run = "node server.js"`.',
                (
                    "A name is that of the folder, when it can be one: lower-case letters, digits and hyphens, a letter "
                    "first. Otherwise write `name`."
                ),
            ),
        ),
        Page(
            "wrong-value",
            "A value is of the wrong kind or out of its range",
            'orders/service.toml:4: port must be one of "http", "grpc", "tcp", "none", not the number 8080',
            "The field exists, its value cannot be meant.",
            (
                (
                    "`port` is what the service speaks, not a number. Atoll chooses the number; the service gets it in "
                    "`PORT`, or in `run` as `{port}`."
                ),
                (
                    'A time or a size has its unit: `"2s"`, `"256MiB"`. A plain number is refused, since nobody can tell '
                    "milliseconds from seconds."
                ),
                "The message says what is expected; the reference has every field with its kind and default.",
            ),
        ),
        Page(
            "fields-contradict",
            "Two fields contradict each other",
            "orders/service.toml:5: overlap = false allows one instance at a time, but replicas is 2",
            "Each is fine alone. Together they cannot be kept.",
            ("Take one of them out; the message names both.",),
        ),
        Page(
            "no-such-port",
            "A port is named that is not there",
            "orders/service.toml:6: calls.payments.port names no port of payments: 'grcp'",
            'A route, a probe or a call needs a port of the service, by its name. A service with `port = "none"` has none.',
            (
                "The fix names the nearest; the ports of a service are the keys of its `[ports]`, or `http` alone.",
                'A worker is probed by `health = "process"` or by a command.',
            ),
        ),
        Page(
            "wrong-protocol",
            "A port speaks another protocol",
            "catalog/service.toml:4: health.ready asks by grpc, but port 'http' speaks http",
            "What a port speaks decides how it is probed, routed and called.",
            (
                'Say what it speaks: `port = "grpc"`, or `[ports]` with a protocol each.',
                "The gateway speaks HTTP and gRPC; a `tcp` port can be called by services, but has no route.",
                "A caller of a `tcp` port wants `{address}`, not `{url}`.",
            ),
        ),
        Page(
            "variable-twice",
            "A variable has two sources",
            "orders/service.toml:9: env.PORT is also the variable of port 'http', whose number Atoll chooses",
            "A variable of the service is set by one place only: `[env]`, `inherit`, a port or a call.",
            (
                "Take one out.",
                'If the program reads its port from another variable: `ports.http = { env = "LISTEN_PORT" }`.',
            ),
        ),
        Page(
            "unknown-placeholder",
            "A placeholder means nothing here",
            "orders/service.toml:2: run has an unknown placeholder {prot}",
            "In `run`, in `[env]` and in commands of probes, a lower-case name in braces is filled in when a replica starts.",
            (
                (
                    "Known are `{port}`, `{port.NAME}`, `{host}`, `{address}`, `{url}`, `{data}`, `{files}`, `{service}` and `{release}`; in the `env` "
                    "of a call only the callee's `{host}`, `{port}`, `{address}` and `{url}`."
                ),
                "As a text it is written with two braces: `{{name}}`.",
                "A service without a port has no `{port}`.",
            ),
        ),
        Page(
            "template-unusable",
            "A template of `[files]` cannot be used",
            'orders/service.toml:7: files."app.ini".template "app.ini.in" leads out of the service\'s folder',
            "A template is text with placeholders. It travels with every release, so it lies in the service's folder, is "
            "UTF-8, and is small.",
            (
                "The message says which of these it is not; the path is relative to the service's folder.",
                "A file without placeholders needs no `[files]`: it lies in the artifact beside the program.",
            ),
        ),
        Page(
            "unknown-callee",
            "A call names no service of the workspace",
            "orders/service.toml:8: calls.payment names no service of the workspace",
            "`[calls.NAME]` is an edge to the service of that name.",
            (
                "The fix names the nearest service.",
                "It may be absent: `optional = true`; then its variable holds an address at which nobody answers.",
                'It lies outside the workspace: `url = "https://api.example.com"`.',
            ),
        ),
        Page(
            "calls-itself",
            "A service calls itself",
            "orders/service.toml:8: calls.orders is the service itself: such a request goes to any replica of any live release",
            "A warning. During a deploy such a request may reach the other release.",
            ("A replica reaches itself at its own port, on 127.0.0.1.",),
        ),
        Page(
            "name-taken",
            "Two services have one name",
            'b/service.toml:1: name "orders" is also that of a/service.toml',
            "The name is what people and other services call it by.",
            ("Give each a `name` of its own.",),
        ),
        Page(
            "route-taken",
            "Two services want one route",
            "error[route-taken]: orders cannot take the route '/orders'",
            "A request can go to one service only. Within the files `atoll check` tells; at a deploy the routes of the "
            "releases that run count, too.",
            (
                "Change one of them. The longest path wins, so `/orders` and `/orders/new` may stand side by side.",
                "To move a route from one service to another, deploy the old owner without it first.",
            ),
        ),
        Page(
            "port-range",
            "The range of ports does not fit",
            "atoll.toml:2: ports 20000-20010 are 11, but two releases of every service need 24",
            "Replicas and edges get numbers from `ports` of `atoll.toml`; two releases of each service run side by side "
            "during a deploy. The gateway's number must lie outside, and the kernel's range of outgoing ports should.",
            (
                "Take the default out of the way of others only if you must: without `ports` it is 20000-29999.",
                (
                    "Overlap with the kernel's range is a warning: sooner or later an outgoing connection holds a replica's "
                    "port when it starts. The fix names a range that does not."
                ),
            ),
        ),
        Page(
            "no-service-there",
            "No service where `services` looks",
            'atoll.toml:1: services: no folder with a service.toml at "apps/*"',
            "`services` of `atoll.toml` lists folders, or patterns of folders, relative to it.",
            ("Put a `service.toml` into the folder, or take the entry out. `**` finds them at any depth.",),
        ),
        Page(
            "root-missing",
            "A repository of the workspace is not there",
            'atoll.toml:2: roots: "../billing" is not there',
            "`roots` of `atoll.toml` names other repositories whose services belong to the workspace. Atoll clones nothing.",
            (
                "Clone it to the folder that the message names; relative paths begin at the folder of `atoll.toml`.",
                'Not everybody needs it: `{ path = "../billing", optional = true }`. Calls to its services then get 503.',
                "A call that names no service is told as a warning while such a root is away: it may be one of its services.",
            ),
        ),
        Page(
            "outside-workspace",
            "A path leads out of the workspace",
            'orders/service.toml:7: build.context "../.." leads out of the workspace',
            "A build sees the workspace only, so that the same commit gives the same artifact everywhere.",
            (
                'Name a folder within, such as `context = ".."`.',
                "Move `atoll.toml` one folder up, if the other folder belongs to the workspace.",
            ),
        ),
        Page(
            "no-such-file",
            "A file is named that is not there",
            'orders/service.toml:12: publishes[0].contract is "orders.avsc", and there is no such file',
            "A field names a file, such as the description of a topic, and it does not exist.",
            ("It lies relative to the service's folder. Check it out, or correct the path.",),
        ),
        Page(
            "unknown-store",
            "A topic names a store that the service does not have",
            "orders/service.toml:12: publishes[0].store is no store of orders: 'kafka'",
            "The broker of a topic is one of the service's own `[stores]`.",
            ("The fix names the nearest, or shows how to declare it.",),
        ),
        Page(
            "shared-store",
            "Two services use one database",
            "billing/service.toml:9: stores.db is the store of orders (orders/service.toml), too: neither can change its tables alone",
            "A warning. A table that two services read is an interface that nobody wrote down: neither can be deployed "
            "alone once its form changes.",
            (
                "Give each a database of its own, or let one ask the other through its API.",
                "It is meant, at least for now: declare the store once in `atoll.toml` with `shared = true`.",
            ),
        ),
        Page(
            "password-in-file",
            "A password stands in a file that people share",
            "orders/service.toml:9: stores.db has its password in a file that people share",
            "A warning. Whoever may read the repository may read the database.",
            ('Make it a secret: `url = { secret = "orders-db" }`, then `atoll secret set orders-db`.',),
        ),
        Page(
            "unpublished-topic",
            "Nobody publishes a topic that is consumed",
            "billing/service.toml:12: consumes: nobody here publishes 'order.placed'",
            "A warning. The consumer waits for events that no service of the workspace says it sends.",
            (
                "Say it where it is sent: `publishes` of that service. The fix names the nearest topic.",
                'It comes from outside: `{ topic = "order.placed", external = true }`.',
            ),
        ),
    ),
)
