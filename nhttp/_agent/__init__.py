"""The Agent: who gets which connection, and for how long connections are kept.

`pool` decides and does nothing.
"""
