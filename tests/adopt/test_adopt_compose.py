"""A compose.yaml with every shape that public ones have: one build for several services, env_file, extends, profiles,
long syntax, health checks of each kind, volumes, and images beside.
"""

COMPOSE = """
include: [extra.yaml]
x-app: &app
  build: .
  env_file: .env.web
  environment: { DATABASE_HOST: db }
services:
  web:
    build: .
    command: gunicorn mysite.wsgi:application --bind 0.0.0.0:8000 --workers ${WORKERS:-3}
    env_file: [.env.web, { path: missing.env, required: false }]
    environment:
      DJANGO_SETTINGS_MODULE: mysite.settings
      DATABASE_HOST: db
      DATABASE_PORT: "5432"
      SECRET_KEY: ${SECRET_KEY:?set it}
      MEDIA_ROOT: /srv/media
      FEATURE: "{beta} and {{gamma}} ${UNSET}"
      SEARCH_URL: http://search:3000/v1
      NOTIFY: http://notify:8081
      PASSED_ON:
    ports:
      - target: 8000
        published: "80"
        protocol: tcp
    volumes: ["media:/srv/media", "./nginx.conf:/etc/nginx/nginx.conf:ro"]
    depends_on:
      db: { condition: service_healthy }
      migrate: { condition: service_completed_successfully }
    healthcheck: { test: ["CMD-SHELL", "curl -f http://localhost:8000/health/ || exit 1"], interval: 30s, retries: 3 }
  worker:
    <<: *app
    command: celery -A mysite worker -l info
    healthcheck: { disable: true }
    stop_signal: SIGINT
    volumes: ["media:/srv/media"]
  beat:
    extends: { service: worker }
    command: ["celery", "-A", "mysite", "beat"]
    environment: ["DATABASE_PORT=5432"]
    healthcheck: { test: ["CMD", "pgrep", "celery"], disable: false }
    volumes: ["/var/run"]
  migrate:
    build: .
    command: python manage.py migrate
    restart: "no"
    profiles: [setup]
  search:
    build: { context: search, args: { VERSION: "2", NPM_TOKEN: "npm_Zx81jJq0AbCdEfGh" } }
    user: node
    cap_add: [NET_ADMIN]
    deploy:
      replicas: 2
      resources: { limits: { cpus: "0.5", memory: 512M }, reservations: { memory: 64M } }
    environment: ["PORT=3000", "REDIS_URL=redis://cache:6379/0", "PEER=search:3000"]
    expose: ["3000", "9229"]
    healthcheck: { test: ["CMD", "nc", "-z", "localhost", "3000"], timeout: 2s }
  notify:
    build: { context: ., dockerfile: services/notify/Dockerfile, target: prod }
    depends_on: [search]
    environment: { LISTEN_ADDR: ":8081" }
  tool:
    build: https://github.com/example/tool.git
  db: { image: "postgres:16", volumes: ["pg:/var/lib/postgresql/data"] }
  cache: { image: "redis:7", ports: ["6380:6379"] }
  proxy: { image: "nginx:1.27", ports: ["8080:80"] }
"""


def site() -> dict[str, str]:
    return {
        "compose.yaml": COMPOSE,
        "extra.yaml": "services:\n  mail: { image: 'example/mailpit:1.2', ports: ['127.0.0.1:8025:8025'] }\n",
        ".env": "SECRET_KEY=abc\nOTHER='x'\n",
        ".env.web": "# settings\nexport DEBUG=0\nSENTRY_TOKEN=t0ken # not for you\nPORT=8000\n",
        "Dockerfile": 'FROM python:3.12 AS base\nWORKDIR /app\nEXPOSE 8000\nENTRYPOINT ["/app/entrypoint.sh"]\nCMD ["gunicorn"]\n',
        "manage.py": "",
        "requirements.txt": "django\ngunicorn\ncelery\n",
        "mysite/wsgi.py": "application = 1\n",
        "mysite/celery.py": "app = Celery('mysite')\n",
        "search/package.json": '{"dependencies": {"express": "4"}, "scripts": {"start": "node index.js"}}',
        "search/index.js": "app.listen(process.env.PORT)\n",
        "search/Dockerfile": "FROM node\nCMD npm start\nHEALTHCHECK CMD wget -q http://localhost:3000/ok\n",
        "services/notify/Dockerfile": 'FROM golang AS prod\nENV MODE=prod PATH=/x:$PATH\nEXPOSE 8081\nENTRYPOINT ["/notify"]\nFROM prod AS dev\nCMD ["air"]\n',
        "services/notify/go.mod": "module notify\n",
        "services/notify/main.go": 'package main\n\nfunc main() { http.ListenAndServe(os.Getenv("LISTEN_ADDR"), nil) }\n',
    }


# --- what comes out of it, to the letter --------------------------------------------------------------------------

SITE_FILES = {
    "atoll.toml": """\
name = "repo"

[stores]
db = { url = "postgres://127.0.0.1:5432", shared = true }
""",
    "service.toml": """\
name = "web"
run = "gunicorn mysite.wsgi:application --bind {address} --workers 3"
route = "/"
overlap = false  # writes volume media; true when two at a time do no harm
inherit = ["PASSED_ON"]

[health]
ready = "/health/"
interval = "30s"
failures = 3

[calls]
notify = "NOTIFY"

[calls.search]
env = { SEARCH_URL = "{url}/v1" }

[stores]
db = { env = { DATABASE_HOST = "{host}", DATABASE_PORT = "{port}" } }  # db is 127.0.0.1

[env]
DEBUG = "0"
DJANGO_SETTINGS_MODULE = "mysite.settings"
MEDIA_ROOT = "{data}"
FEATURE = "{{beta}} and {{{gamma}}} "
SENTRY_TOKEN = { secret = "sentry-token" }
SECRET_KEY = { secret = "secret-key" }
""",
    "search/service.toml": """\
run = "node index.js"
replicas = 2

[image]
args = { VERSION = "2" }

[health]
ready = { tcp = true, timeout = "2s" }

[limits]
memory = "512MiB"

[stores]
cache = { type = "redis", env = "REDIS_URL" }

[env]
PEER = "{address}"
""",
    "services/beat/service.toml": """\
run = "celery -A mysite beat"
port = "none"
overlap = false  # looks like a scheduler; true when two at a time do no harm

[build]
context = "../.."

[image]
dockerfile = "../../Dockerfile"

[stop]
signal = "SIGINT"

[stores]
db = { env = { DATABASE_HOST = "{host}", DATABASE_PORT = "{port}" } }  # db is 127.0.0.1

[env]
DEBUG = "0"
PORT = "8000"
SENTRY_TOKEN = { secret = "sentry-token" }
""",
    "services/notify/service.toml": """\
run = "./notify"

[image]
context = "../.."
target = "prod"

[env]
LISTEN_ADDR = "{address}"
MODE = "prod"
""",
    "services/worker/service.toml": """\
run = "celery -A mysite worker -l info"
port = "none"
overlap = false  # writes volume media; true when two at a time do no harm

[build]
context = "../.."

[image]
dockerfile = "../../Dockerfile"

[stop]
signal = "SIGINT"

[stores]
db = { env = { DATABASE_HOST = "{host}" } }  # db is 127.0.0.1

[env]
DEBUG = "0"
PORT = "8000"
SENTRY_TOKEN = { secret = "sentry-token" }
""",
}
SITE_LEFT = """\
web, worker, beat: the entrypoint /app/entrypoint.sh is not run -> what it prepares (waiting, migrations) is done otherwise, or put it into `run`
migrate: is in profile setup, which was not asked for -> atoll init --profile setup takes it along
search: port 9229 is a debugger's, which does not run here
tool: build context https://github.com/example/tool.git lies outside this folder -> run `atoll init` where it lies within
web: SENTRY_TOKEN holds a secret, which is not copied -> atoll secret set sentry-token
web: SECRET_KEY holds a secret, which is not copied -> atoll secret set secret-key
web: volume media is {data} now, the service's own folder, and empty at first (MEDIA_ROOT) -> copy what it holds, if it matters
web, worker, beat: volume media is shared, but each service has a {data} of its own -> let one of them own it and the others ask, or give all of them one folder of this machine
web: ./nginx.conf was mounted at /etc/nginx/nginx.conf -> point the program at it, by variable or argument
worker, beat: volume media was mounted at /srv/media, and no variable says so -> tell the program {data}, the service's own folder, by variable or argument
beat: volume without a name was mounted at /var/run, and no variable says so -> tell the program {data}, the service's own folder, by variable or argument
web: waited for db to be healthy; services start on their own here -> it must try again until they answer
web: waited for migrate to be done; what runs once before a release is `before` here -> rollout.before in its service.toml, and take the service migrate out
search: user is not carried over -> as root Atoll runs each service under a user of its own
search: cap_add (NET_ADMIN) is not carried over -> give this machine's user what it needs
search: deploy.resources.limits.cpus is not carried over -> [limits] cpu_weight is the share when the CPU is short; on containers cpus is a limit
search: deploy.resources.reservations.memory is not carried over -> nothing is reserved
search: build.args (VERSION, NPM_TOKEN) is for the image -> a build here gets variables by [build] env
notify: depends_on search, but no variable holds its address -> when it calls it: [calls] search = "SEARCH_URL", and read that
mail: image example/mailpit:1.2 is a service that Atoll does not run -> `docker compose -f compose.yaml up -d mail` runs it at 127.0.0.1:8025, or run your own there
db: image postgres:16 is a store that Atoll does not run; used by DATABASE_HOST of web, worker, beat -> publish its port in compose.yaml (ports: ["127.0.0.1:5432:5432"]) and `docker compose -f compose.yaml up -d db`, or run your own there
cache: image redis:7 is a store that Atoll runs itself now, empty at first; used by REDIS_URL of search -> copy what it holds, if it matters; one that runs elsewhere has a `url` in [stores]
proxy: image nginx:1.27 is a service that Atoll does not run -> Atoll's gateway stands there: `route` in a service.toml says what it sends where
: ${UNSET} has no value in .env: written as empty -> set what needs it in [env]
"""
SITE_PLACES = """\
compose.yaml:8 services.web.entrypoint, compose.yaml:31 services.worker.entrypoint, compose.yaml:37 services.beat.entrypoint
compose.yaml:47 services.migrate.profiles
compose.yaml:56 services.search.expose
compose.yaml:63 services.tool.build
compose.yaml:12 services.web.environment.SENTRY_TOKEN
compose.yaml:16 services.web.environment.SECRET_KEY
compose.yaml:26 services.web.volumes
compose.yaml:26 services.web.volumes, compose.yaml:36 services.worker.volumes, compose.yaml:42 services.beat.volumes
compose.yaml:26 services.web.volumes
compose.yaml:36 services.worker.volumes, compose.yaml:42 services.beat.volumes
compose.yaml:42 services.beat.volumes
compose.yaml:27 services.web.depends_on
compose.yaml:27 services.web.depends_on
compose.yaml:50 services.search.user
compose.yaml:51 services.search.cap_add
compose.yaml:54 services.search.deploy.resources.limits.cpus
compose.yaml:54 services.search.deploy.resources.reservations.memory
compose.yaml:49 services.search.build.args
compose.yaml:60 services.notify.depends_on.search
extra.yaml:2 services.mail.image
compose.yaml:64 services.db.image
compose.yaml:65 services.cache.image
compose.yaml:66 services.proxy.image
compose.yaml:18 FEATURE
"""
SITE_UNNEEDED = """\
beat: healthcheck: it looked for its own process: alive is what counts without a check
beat: healthcheck: of a worker: alive is what counts
web, notify: depends_on: services start in any order, and try again until the others answer
search: expose: only the gateway can be reached from outside
notify: build.target: its stage told how it runs; [image] has it for containers
"""


def test_one_build_for_several_services_is_adopted_to_the_letter(adopt) -> None:
    done = adopt(site())
    assert done.files == SITE_FILES
    assert done.left == SITE_LEFT.splitlines()
    assert done.places == SITE_PLACES.splitlines()
    assert done.unneeded == SITE_UNNEEDED.splitlines()
