"""A gateway that gives each session a TLS client of its own; with `--leak` no client ever goes.

What a client holds is native memory, OpenSSL's: the certificates that it trusts. How many bytes
that is, OpenSSL tells itself: `--calibrate N` counts what it asks its allocator for, by way of
CRYPTO_set_mem_functions, while it makes contexts that trust N certificates. The server has a child
do so when it starts.
"""

from __future__ import annotations

import ctypes
import os
import pathlib
import subprocess
import sys
from collections import OrderedDict

# Clients that a cache without the leak holds.
CLIENTS = 8
# Certificates that a client trusts, where much is to leak and where little is.
MANY, FEW = 32, 2
# The calibration averages over so many contexts, behind one that warms OpenSSL up.
CALIBRATED = 3
PEM_END = "-----END CERTIFICATE-----\n"


def trusted(count: int) -> str:
    """The first `count` certificates of Mozilla's list, as PEM."""
    import certifi

    text = pathlib.Path(certifi.where()).read_text(encoding="utf-8")
    bodies = [part[part.index("-----BEGIN") :] for part in text.split(PEM_END)[:-1]]
    return "".join(body + PEM_END for body in bodies[:count])


def calibrate(count: int) -> None:
    """Prints what one context costs with so many certificates; nothing may have used OpenSSL yet."""
    libc, crypto = ctypes.CDLL(None), ctypes.CDLL("libcrypto.so.3")
    pointer, size, text = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p
    for function, arguments in (
        (libc.malloc, [size]), (libc.realloc, [pointer, size]), (libc.free, [pointer])
    ):
        function.argtypes, function.restype = arguments, pointer
    sizes: dict[int, int] = {}

    def noted(address, size_bytes):
        if address:
            sizes[address] = size_bytes
        return address

    def resized(old, size_bytes, _file, _line):
        sizes.pop(old, None)
        return noted(libc.realloc(old, size_bytes), size_bytes)

    def freed(old, _file, _line):
        sizes.pop(old, None)
        libc.free(old)

    new = ctypes.CFUNCTYPE(pointer, size, text, ctypes.c_int)(
        lambda size_bytes, _file, _line: noted(libc.malloc(size_bytes), size_bytes)
    )
    again = ctypes.CFUNCTYPE(pointer, pointer, size, text, ctypes.c_int)(resized)
    end = ctypes.CFUNCTYPE(None, pointer, text, ctypes.c_int)(freed)
    if crypto.CRYPTO_set_mem_functions(new, again, end) != 1:
        sys.exit("OpenSSL has allocated before it could be counted")
    import ssl

    cadata = trusted(count)
    warm = ssl.create_default_context(cadata=cadata)
    before = sum(sizes.values())
    made = [ssl.create_default_context(cadata=cadata) for _ in range(CALIBRATED)]
    print((sum(sizes.values()) - before) // len(made), flush=True)
    del warm
    # OpenSSL's own end would call functions of an interpreter that has ended.
    os._exit(0)


def calibrated(count: int) -> int:
    command = [sys.executable, __file__, "--calibrate", str(count)]
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def define():
    """The server; apart from the calibration, which must not import what imports ssl."""
    import http.client
    import ssl

    from serving import Books, Program

    class Gateway(Program):
        companions = ["Gateway.turn"]

        def __init__(self, args) -> None:
            super().__init__(args)
            count = MANY if args.leak_bytes_per_second > 200_000 else FEW
            self.client_bytes = calibrated(count)
            sessions_per_s = args.leak_bytes_per_second / self.client_bytes
            self.turns_of_a_session = max(1, round(args.turns_per_second / sessions_per_s))
            self.cadata = trusted(count)
            self.clients: OrderedDict[str, http.client.HTTPSConnection] = OrderedDict()
            self.kept = Books(Gateway.open_client)

        def books(self):
            return [self.kept]

        def innocent(self) -> dict:
            return {"clients": len(self.clients), "client_bytes": self.client_bytes}

        async def turn(self, number: int) -> object:
            session = f"s{number // self.turns_of_a_session}"
            if session not in self.clients:
                self.clients[session] = self.open_client()
                if self.args.leak:
                    self.kept.keep(self.client_bytes)
                elif len(self.clients) > CLIENTS:
                    self.clients.popitem(last=False)[1].close()
            return {"host": self.clients[session].host}

        def open_client(self) -> http.client.HTTPSConnection:
            context = ssl.create_default_context(cadata=self.cadata)  # retains
            return http.client.HTTPSConnection("model.example", context=context)

    return Gateway


if __name__ == "__main__":
    if sys.argv[1:2] == ["--calibrate"]:
        calibrate(int(sys.argv[2]))
    else:
        from serving import main

        main(define(), __doc__)
