"""The clients that take part: ``python -m benchmarks.clients NAME PORT …``.

``*_get PORT SECONDS THREADS``
    send GETs, one after the other on each thread, over kept connections, for so long; they print
    ``requests N SECONDS CPU_SECONDS``.
``*_download PORT OCTETS``, ``*_upload PORT OCTETS``
    move one body; they print ``moved SECONDS GROWTH``, the latter in octets of memory.
``hold PORT N``
    opens N connections, has a request answered on each, prints ``holding N``, and keeps them until
    its standard input ends.
"""
