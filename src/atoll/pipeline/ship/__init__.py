"""Artifacts on their way from where they were built to the machine that runs them.

Who sends: `survey` (what is in one, and what it needs besides itself) and `sending`. Who keeps: `depot`, over `arrivals`
(contents that have come), `footing` (whether the machine has what one needs) and `rehome` (what holds its old folder).
Between them: `frames`. Contents go by their SHA-256, so that what is there is never sent, and what has arrived never twice.
"""
