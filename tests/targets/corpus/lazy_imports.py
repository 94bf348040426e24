"""Innocent: modules are imported when they are first needed, for the first minute of service.

Or for as long as --import-seconds says: who watches for less sees nothing but growth.
"""

from __future__ import annotations

import importlib
import sys

from serving import Program, main

# Of the standard library, large and small; each is needed by some request.
MODULES = """
    sqlite3 decimal fractions statistics difflib tarfile zipfile lzma bz2 csv configparser plistlib
    xml.dom.minidom xml.etree.ElementTree xml.sax.expatreader html.parser http.server http.cookiejar
    ftplib imaplib poplib smtplib mailbox wsgiref.simple_server xmlrpc.client xmlrpc.server
    urllib.robotparser turtledemo pydoc doctest unittest.mock optparse getopt cmd shelve dbm.dumb
    pickletools modulefinder symtable tabnanny py_compile compileall zipapp pdb bdb profile cProfile
    pstats trace tracemalloc timeit sched curses readline rlcompleter multiprocessing.pool
    concurrent.futures.process asyncio.subprocess lib2to3.refactor ensurepip venv distutils.core
    encodings.idna encodings.big5 encodings.euc_jp encodings.cp1252 calendar locale colorsys wave
    sndhdr imghdr chunk uuid secrets crypt graphlib zoneinfo ipaddress
""".split()


class Service(Program):
    def __init__(self, args) -> None:
        super().__init__(args)
        self.waiting = list(MODULES)
        self.turns_per_module = args.import_seconds * args.turns_per_second / len(MODULES)
        self.imported = 0

    def innocent(self) -> dict:
        return {"imported": self.imported, "waiting": len(self.waiting), "all": len(sys.modules)}

    async def turn(self, number: int) -> object:
        if self.waiting and number >= (self.imported + 1) * self.turns_per_module:
            self.need(self.waiting.pop(0))
        return {"imported": self.imported}

    def need(self, name: str) -> None:
        self.imported += 1
        try:
            importlib.import_module(name)
        except ImportError:
            pass  # not every build has all of them


if __name__ == "__main__":
    main(Service, __doc__, import_seconds=60.0)
