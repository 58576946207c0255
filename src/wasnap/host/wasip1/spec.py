"""The constants of WASI preview1, under the specification's names.

Source: typenames.witx, https://github.com/WebAssembly/WASI/blob/wasi-0.1/preview1/docs.md#types
"""

from __future__ import annotations

from typing import Final

# fmt: off
ERRNO_NAMES: Final = (
    "SUCCESS", "2BIG", "ACCES", "ADDRINUSE", "ADDRNOTAVAIL", "AFNOSUPPORT", "AGAIN", "ALREADY",
    "BADF", "BADMSG", "BUSY", "CANCELED", "CHILD", "CONNABORTED", "CONNREFUSED", "CONNRESET",
    "DEADLK", "DESTADDRREQ", "DOM", "DQUOT", "EXIST", "FAULT", "FBIG", "HOSTUNREACH", "IDRM",
    "ILSEQ", "INPROGRESS", "INTR", "INVAL", "IO", "ISCONN", "ISDIR", "LOOP", "MFILE", "MLINK",
    "MSGSIZE", "MULTIHOP", "NAMETOOLONG", "NETDOWN", "NETRESET", "NETUNREACH", "NFILE", "NOBUFS",
    "NODEV", "NOENT", "NOEXEC", "NOLCK", "NOLINK", "NOMEM", "NOMSG", "NOPROTOOPT", "NOSPC", "NOSYS",
    "NOTCONN", "NOTDIR", "NOTEMPTY", "NOTRECOVERABLE", "NOTSOCK", "NOTSUP", "NOTTY", "NXIO",
    "OVERFLOW", "OWNERDEAD", "PERM", "PIPE", "PROTO", "PROTONOSUPPORT", "PROTOTYPE", "RANGE",
    "ROFS", "SPIPE", "SRCH", "STALE", "TIMEDOUT", "TXTBSY", "XDEV", "NOTCAPABLE",
)
# fmt: on
"""The name's index is the errno."""

# fmt: off
SIGNAL_NAMES: Final = (
    "NONE", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV",
    "USR2", "PIPE", "ALRM", "TERM", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU",
    "XFSZ", "VTALRM", "PROF", "WINCH", "POLL", "PWR", "SYS",
)
# fmt: on
"""The name's index is the signal; not this machine's numbers."""

ERRNO_SUCCESS: Final = 0
ERRNO_BADF: Final = 8
ERRNO_CHILD: Final = 12
ERRNO_FAULT: Final = 21
ERRNO_INVAL: Final = 28
ERRNO_IO: Final = 29
ERRNO_NOMEM: Final = 48
ERRNO_NOSYS: Final = 52
ERRNO_NOTSUP: Final = 58
ERRNO_NOTCAPABLE: Final = 76

CLOCKID_REALTIME: Final = 0
CLOCKID_MONOTONIC: Final = 1
CLOCKID_PROCESS_CPUTIME_ID: Final = 2
CLOCKID_THREAD_CPUTIME_ID: Final = 3

WHENCE_SET: Final = 0
WHENCE_CUR: Final = 1
WHENCE_END: Final = 2

FILETYPE_UNKNOWN: Final = 0
FILETYPE_BLOCK_DEVICE: Final = 1
FILETYPE_CHARACTER_DEVICE: Final = 2
FILETYPE_DIRECTORY: Final = 3
FILETYPE_REGULAR_FILE: Final = 4
FILETYPE_SOCKET_DGRAM: Final = 5
FILETYPE_SOCKET_STREAM: Final = 6
FILETYPE_SYMBOLIC_LINK: Final = 7

LOOKUPFLAGS_SYMLINK_FOLLOW: Final = 1 << 0

OFLAGS_CREAT: Final = 1 << 0
OFLAGS_DIRECTORY: Final = 1 << 1
OFLAGS_EXCL: Final = 1 << 2
OFLAGS_TRUNC: Final = 1 << 3

FSTFLAGS_ATIM: Final = 1 << 0
FSTFLAGS_ATIM_NOW: Final = 1 << 1
FSTFLAGS_MTIM: Final = 1 << 2
FSTFLAGS_MTIM_NOW: Final = 1 << 3

ADVICE_NAMES: Final = ("NORMAL", "SEQUENTIAL", "RANDOM", "WILLNEED", "DONTNEED", "NOREUSE")

EVENTTYPE_CLOCK: Final = 0
EVENTTYPE_FD_READ: Final = 1
EVENTTYPE_FD_WRITE: Final = 2

EVENTRWFLAGS_FD_READWRITE_HANGUP: Final = 1 << 0

SUBCLOCKFLAGS_SUBSCRIPTION_CLOCK_ABSTIME: Final = 1 << 0

PREOPENTYPE_DIR: Final = 0
PREOPENTYPE_OTHER: Final = 1
"""Not in the specification, which knows directories only."""
