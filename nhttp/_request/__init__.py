"""ClientRequest in four layers: sending, getting a connection, reading the answer, asking for it.

Each stands on the one before it; `nhttp.client` puts the events and the end on top. The layers are
one object, split so that each can be read by itself.
"""
