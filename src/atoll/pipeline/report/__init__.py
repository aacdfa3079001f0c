"""What a run of tasks says to others: JUnit XML, annotations, Markdown, matrices, and the files of CI systems.

`cli.ci_report` calls it. Pure: results and texts go in, texts come out; nothing here runs, reads or writes anything.
Every text that holds what a program printed goes through `mask` first.
"""
