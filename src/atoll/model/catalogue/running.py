"""What callers get from the gateway or the proxy, and what `status` remarks."""

from atoll.model.catalogue.page import Chapter, Page

CHAPTER = Chapter(
    "Running",
    (
        Page(
            "no-ready-replica",
            "503: no release takes requests now",
            'atoll: no release of "orders" takes requests now [no-ready-replica]',
            "The caller reached Envoy, but no replica of the callee is ready; or requests waited for a release with "
            "`overlap = false` longer than they may.",
            ("`atoll why orders` says what is wrong with the callee. `atoll up orders` if it is down.",),
        ),
        Page(
            "no-route",
            "404: no service has a route for this path",
            "atoll: no service has a route for this path [no-route]",
            "The gateway knows no such `route`; the request reached no service. A 404 without these words is the service's own.",
            (
                "`atoll status` lists the routes; the longest path wins, and `/` takes the rest.",
                "The service is not deployed, or its file has no `route`.",
                "A route with a `host` takes requests for that host only.",
            ),
        ),
        Page(
            "body-too-large",
            "413: the request is larger than the edge allows",
            "atoll: more than 1048576 bytes [body-too-large]",
            "`max_body` of the route or of the call limits what a request may carry.",
            ("Raise it where the request comes in: at the route for the gateway, at `[calls.NAME]` for a service.",),
        ),
        Page(
            "upstream-timeout",
            "504: upstream request timeout",
            "upstream request timeout",
            "The callee took longer than `timeout` of the call or route (15 s unless you say otherwise).",
            (
                "Raise `timeout` where it is known to take long; a stream has an idle time-out instead.",
                "Find out why it is slow: `atoll status` shows its 95th percentile.",
            ),
        ),
        Page(
            "listens-everywhere",
            "A service can be reached past the proxy",
            "orders listens on all addresses, so it can be reached past the proxy; bind 127.0.0.1",
            "Not an error. The program binds 0.0.0.0, so whoever reaches the machine reaches it without the gateway, its "
            "time-outs and its counters.",
            ("Bind 127.0.0.1 in the program; `{address}` in `run` is the whole of it.",),
        ),
        Page(
            "not-isolated",
            "A service runs as root, not isolated from the others",
            "orders: runs as root, not isolated from other services: its own user may not use /root/…/python3",
            "As root, Atoll gives each service a user of its own. That user may not reach the interpreter or the artifact "
            "here, often since it lies below `/root`.",
            (
                "Install the interpreter where everybody may read (`/usr/bin`, `/opt`), and deploy again.",
                "Let `ATOLL_HOME` lie where other users may pass through.",
            ),
        ),
    ),
)
