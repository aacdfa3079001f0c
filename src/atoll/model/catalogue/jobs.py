"""What people ask of jobs that cannot be, and how jobs and migrations fail."""

from atoll.model.catalogue.page import Chapter, Page

CHAPTER = Chapter(
    "Jobs and migrations",
    (
        Page(
            "unknown-job",
            "The service has no such job",
            "error[unknown-job]: orders has no job 'reindx'",
            "Jobs are those of the release that has the traffic, not those of the file as it is now.",
            (
                "`atoll jobs orders` lists them; the message names the nearest.",
                "It was added to `[jobs]` since: `atoll deploy orders`.",
            ),
        ),
        Page(
            "unknown-run",
            "There is no such run",
            "error[unknown-run]: there is no run 'orders.nightly.20261126T030000'",
            "Twenty runs of each job are kept.",
            ("`atoll jobs orders nightly` lists them.",),
        ),
        Page(
            "job-running",
            "The job is running already",
            "error[job-running]: nightly of orders is running already",
            'A job with `overlap = "skip"`, the default, never runs twice at once, by hand neither.',
            (
                "Wait for it, or stop it: `atoll run orders nightly --stop`.",
                'Say what shall happen instead: `overlap = "queue"`, `"replace"` or `"allow"`.',
            ),
        ),
        Page(
            "job-not-running",
            "The job does not run",
            "error[job-not-running]: nightly of orders does not run",
            "There is nothing to stop.",
            ("`atoll jobs orders nightly` shows how it ended.",),
        ),
        Page(
            "before-failed",
            "What runs before a release failed",
            "`./orders migrate` before orders r8 failed: exit code 3; what it did until then stays",
            "`rollout.before` ended badly, took too long or was interrupted. The release was undone before a replica of it "
            "started; the one before was never touched.",
            (
                "Its last output is in the receipt; all of it: `atoll logs orders --job before`.",
                'It takes longer than 5 min: `before = { run = "./orders migrate", timeout = "30m" }`.',
                "What it did until then is not taken back: it is run again with the next deploy, and must be able to go on.",
            ),
        ),
        Page(
            "over-a-migration",
            "Going back over what ran before a release",
            "error[over-a-migration]: orders r7 may not work any more: `./orders migrate` ran before r8",
            "Rolling code back does not take back what `rollout.before` did, and that release does not say that earlier code "
            "works with it.",
            (
                "Go forward with a release that mends it.",
                "If earlier code works with it, say so in the file from now on: `backward_compatible = true`.",
                "Go back all the same: `atoll rollback orders --force`.",
            ),
        ),
    ),
)
