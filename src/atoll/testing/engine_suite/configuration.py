"""What a service is given: variables, secrets, addresses, ports, files, a folder of its own; and whom it reaches."""

from pathlib import Path
from urllib.parse import urlsplit

from atoll.testing.engine_suite.capabilities import shows
from atoll.testing.engine_suite.lab import Lab

SECRET = "sw0rdfish-4711"
TEMPLATE = """{
  "port": {port}, "version": "%s", "level": "{env.LEVEL}", "password": "{secret.db}",
  "catalog": "{calls.catalog.url}", "text": "{{port}}"
}
"""
NUMBER = 8080  # that the program insists on


def command_lines() -> bytes:
    """Of every process of this machine."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes())
        except OSError:
            pass  # it has ended
    return b"\n".join(found)


class Configuration:
    """Part of `EngineSuite`."""

    @shows("environment")
    def test_it_has_the_variables_of_its_file_and_no_others_of_this_process(self, lab: Lab) -> None:
        lab.service("suggest", env={"GREETING": "a b 'c' {service} {release}", "EMPTY": ""})
        lab.up("suggest")
        assert lab.ask("/suggest/env", name="GREETING")["value"] == "a b 'c' suggest r1"
        assert lab.ask("/suggest/env", name="EMPTY")["value"] == ""
        assert lab.ask("/suggest/env", name="PATH")["value"]
        assert lab.ask("/suggest/env", name="ATOLL_HOME")["value"] is None
        assert lab.ask("/suggest/argv")["argv"] == ["serve"]

    @shows("secrets")
    def test_a_secret_reaches_the_program_and_is_seen_nowhere_else(self, lab: Lab) -> None:
        lab.service("banners", 'env.TOKEN = { secret = "token" }')
        lab.secret("token", SECRET)
        lab.up("banners")
        assert lab.ask("/banners/env", name="TOKEN")["value"] == SECRET
        lab.exec("banners", *lab.command("hello"))
        assert SECRET not in lab.told("banners")
        assert SECRET not in "\n".join(line.text for line in lab.logs("banners"))
        assert SECRET.encode() not in command_lines()
        kept = [
            path for path in (lab.folder / "home").rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()
        ]
        assert kept == []

    @shows("secrets")
    def test_a_new_version_of_a_secret_comes_with_the_next_release(self, lab: Lab) -> None:
        lab.service("adverts", 'env.TOKEN = { secret = "changing" }')
        lab.secret("changing", "first")
        lab.up("adverts")
        lab.secret("changing", "second")
        assert lab.ask("/adverts/env", name="TOKEN")["value"] == "first"
        lab.deploy("adverts")
        assert lab.ask("/adverts/env", name="TOKEN")["value"] == "second"

    @shows("addresses")
    def test_a_callee_is_reached_at_the_address_in_each_form_that_was_asked_for(self, lab: Lab) -> None:
        lab.service("brands")
        env = (
            '{ URL = "{url}", AT = "{address}", CATALOG_HOST = "{host}", CATALOG_PORT = "{port}", OWN = "<{url}/v1>" }'
        )
        lab.service("images", f"calls.brands.env = {env}\n")
        lab.up("brands", "images")
        url, at, host, port, own = (
            lab.ask("/images/env", name=name)["value"] for name in ("URL", "AT", "CATALOG_HOST", "CATALOG_PORT", "OWN")
        )
        assert (url, at, own) == (f"http://{host}:{port}", f"{host}:{port}", f"<{url}/v1>")
        called = lab.ask("/images/call", name="URL")
        assert (called["status"], called["body"]["version"]) == (200, "v1")

    @shows("addresses")
    def test_an_edge_leads_to_whatever_release_is_live(self, lab: Lab) -> None:
        lab.service("makers")
        lab.service("thumbs", 'calls.makers = "URL"\n')
        lab.up("makers", "thumbs")
        before = lab.replicas("thumbs")
        lab.service("makers", env={"VERSION": "v2"})
        assert lab.deploy("makers").good
        assert lab.ask("/thumbs/call", name="URL")["body"]["version"] == "v2"
        assert lab.replicas("thumbs") == before

    @shows("addresses")
    def test_an_optional_callee_may_be_absent_and_come_later(self, lab: Lab) -> None:
        lab.service("videos", 'calls.later = { env = "URL", optional = true }\n')
        lab.up("videos")
        assert lab.ask("/videos/call", name="URL")["status"] == 503
        lab.service("later")
        lab.up("later")
        lab.until(lambda: lab.ask("/videos/call", name="URL")["status"] == 200, what="it is there")

    @shows("undeclared")
    def test_who_does_not_declare_a_call_cannot_make_it(self, lab: Lab) -> None:
        lab.service("vault", env={"OWN": "{address}"})
        lab.service("keeper", 'calls.vault = { env = { VAULT_HOST = "{host}", VAULT_PORT = "{port}" } }\n')
        lab.service("stranger")
        lab.up("vault", "keeper", "stranger")
        edge = {name: lab.ask("/keeper/env", name=f"VAULT_{name.upper()}")["value"] for name in ("host", "port")}
        host, _, port = lab.ask("/vault/env", name="OWN")["value"].partition(":")
        replica = {"host": host, "port": port}
        assert lab.ask("/keeper/dial", **edge)["came"].startswith("HTTP/1.")
        reached = {
            each: bool(lab.ask("/stranger/dial", **at)["came"]) for each, at in (("edge", edge), ("replica", replica))
        }
        open_ = lab.lacks("undeclared")
        assert reached == {"edge": open_, "replica": open_}, reached

    @shows("addresses")
    def test_its_own_address_is_told_by_template(self, lab: Lab) -> None:
        lab.service("captions", env={"OWN_URL": "{url}", "OWN": "{address}", "OWN_PORT": "{port}"})
        lab.up("captions")
        url, at, port = (lab.ask("/captions/env", name=name)["value"] for name in ("OWN_URL", "OWN", "OWN_PORT"))
        assert url == f"http://{at}"
        assert urlsplit(url).port == int(port)
        assert lab.ask("/captions/env", name="PORT")["value"] == port

    @shows("named-ports")
    def test_each_named_port_has_a_number_and_a_variable_of_its_own(self, lab: Lab) -> None:
        ports = 'ports = { http = "http", admin = { protocol = "http", env = "ADMIN_PORT" } }\n'
        lab.service("mails", ports, env={"BOTH": "{port.http} {port.admin}", "MORE": "{port.admin}"})
        lab.up("mails")
        http, admin = lab.ask("/mails/env", name="PORT")["value"], lab.ask("/mails/env", name="ADMIN_PORT")["value"]
        assert http != admin
        assert lab.ask("/mails/env", name="BOTH")["value"] == f"{http} {admin}"
        own = lab.ask("/mails/env", name="HOST")["value"]
        assert lab.ask("/mails/dial", host="127.0.0.1" if own == "0.0.0.0" else own, port=admin)["came"]

    @shows("fixed-port")
    def test_two_replicas_and_two_releases_have_the_port_that_they_insist_on(self, lab: Lab) -> None:
        fixed = f"replicas = 2\nports.http = {{ number = {NUMBER} }}\n"
        lab.service("letters", fixed)
        if lab.refuses("fixed-port"):
            return
        lab.up("letters")
        assert lab.ask("/letters/env", name="PORT")["value"] == str(NUMBER)
        assert len(lab.replicas("letters")) == 2
        lab.service("letters", fixed, env={"VERSION": "v2"})
        with lab.steady("/letters/a") as load:
            assert lab.deploy("letters").good
        assert load.failures == []
        assert set(load.versions) == {"v1", "v2"}

    @shows("files")
    def test_a_file_is_rendered_for_each_replica_with_all_that_it_names(self, lab: Lab) -> None:
        lab.service("catalog")

        def write(version: str) -> None:
            text = 'calls.catalog = "CATALOG"\nfiles."etc/app.json" = { template = "app.json.tmpl" }\n'
            env = {"CONFIG": "{files}/etc/app.json", "LEVEL": "warn"}
            folder = lab.service("texts", text, env=env)
            (folder / "app.json.tmpl").write_text(TEMPLATE % version)

        write("v1")
        lab.secret("db", SECRET)
        lab.up("catalog", "texts")
        config = lab.ask("/texts/config")["config"]
        assert (config["version"], config["level"], config["text"]) == ("v1", "warn", "{port}")
        assert config["password"] == SECRET
        assert str(config["port"]) == lab.ask("/texts/env", name="PORT")["value"]
        assert config["catalog"] == lab.ask("/texts/env", name="CATALOG")["value"]
        write("v2")
        assert lab.deploy("texts").good
        assert lab.get("/texts/x").version == "v2"
        assert SECRET not in lab.told("texts")

    @shows("data")
    def test_what_it_writes_to_its_data_folder_is_there_for_the_next_release(self, lab: Lab) -> None:
        lab.service("alerts", env={"DATA": "{data}"})
        lab.up("alerts")
        assert lab.ask("/alerts/write", path="$DATA/note", text="kept")["why"] == ""
        lab.service("alerts", "rollout.bake = '0s'", env={"DATA": "{data}", "VERSION": "v2"})
        assert lab.deploy("alerts").good
        said = lab.ask("/alerts/read", path="$DATA/note")
        assert (said["version"], said["text"]) == ("v2", "kept")
        assert lab.ask("/alerts/write", path="$DATA/note", text="again")["why"] == ""

    @shows("data")
    def test_it_cannot_change_the_files_that_it_was_built_of(self, lab: Lab) -> None:
        lab.service("audits")
        lab.up("audits")
        assert lab.ask("/audits/write", path="program.py", text="changed")["why"]

    @shows("grpc")
    def test_grpc_is_probed_and_called_and_replaced_without_a_failed_call(self, lab: Lab) -> None:
        grpc = 'port = "grpc"\n'
        lab.service("echo", grpc, kind="grpc", route="/demo.Echo", health="grpc")
        lab.up("echo")
        assert lab.grpc("/demo.Echo/Say", b"x") == b"v1:x"
        lab.service("echo", grpc, kind="grpc", route="/demo.Echo", health="grpc", env={"VERSION": "v2"})
        begun, seen = lab.begin("echo"), set()
        for _ in lab.client.watch(begun.id):
            seen.add(lab.grpc("/demo.Echo/Say", b"x"))
        assert lab.ended(begun).good
        assert seen <= {b"v1:x", b"v2:x"}
        assert lab.grpc("/demo.Echo/Say", b"y") == b"v2:y"

    @shows("websocket")
    def test_a_websocket_stays_with_its_release_and_ends_with_it(self, lab: Lab) -> None:
        lab.service("web", "rollout.bake = '0s'\nstop = { drain = '1s', grace = '5s' }")
        lab.up("web")
        line = lab.websocket("/web/ws")
        assert line.ask(b"ping") == b"v1:ping"
        lab.service("web", "rollout.bake = '0s'\nstop = { drain = '1s', grace = '5s' }", env={"VERSION": "v2"})
        assert lab.deploy("web").good
        lab.until(lambda: line.ask(b"ping") == b"", what="it has ended with its release")
        line.close()
        fresh = lab.websocket("/web/ws")
        assert fresh.ask(b"ping") == b"v2:ping"
        fresh.close()
