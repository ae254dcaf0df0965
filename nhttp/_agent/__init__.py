"""The Agent: who gets which connection, and for how long connections are kept.

`pool` decides and does nothing; `sharing` carries out, with `waiter` and `channel`; `idle` looks
after what is kept; `agent` is the public face; `options` is what a request is made from.
"""
