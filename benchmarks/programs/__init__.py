"""The servers that take part: ``python -m benchmarks.programs NAME``.

Each listens on a free port of 127.0.0.1, prints ``port N``, and serves until it is ended. A name is
that of a function in one of the modules here, which are imported only when they are needed:

``*_hello``
    answer a GET with `app.BODY`, a POST of JSON with the same JSON, decoded and encoded again.
``*_streams``
    give as many octets as ``GET /length/N`` asks for (also ``/chunked/N`` and ``/file/N``, where
    they can), and count what a PUT brings.
``*_idle``
    are like ``*_hello``, keep idle connections for ever, and stop when a line comes in: they then
    print ``stopped SECONDS``.
``tls_* PEM``
    do some of both over TLS.
"""
