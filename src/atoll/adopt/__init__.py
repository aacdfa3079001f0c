"""What `atoll init` makes of a repository that knows nothing of Atoll: files -> findings -> text.

Readers (`python`, `node`, `go`, `jvm`, `others`, `procfile`, `compose`) look into a `tree.Tree` and say what they
found as `found.Found`; `repository` puts them together, `choices` settles what needs a person, `text` writes the
files' text. `cli.commands.init` calls it. Nothing here writes a file, starts a program or asks anybody. Garbage in
somebody's file is one `UserError` that names it.
"""
