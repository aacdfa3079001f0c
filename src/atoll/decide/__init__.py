"""Every decision of Atoll, as pure functions: facts and `now` go in, plans and new states come out.

`realise` and `daemon` call these and carry out what they return. Nothing here performs I/O, reads a clock, draws a
random number or waits; ids, time and leases are arguments. So each rule can be tested with a table.
"""
