"""Give up root for a program that refuses to run as root: run as a script that becomes that program.

Usage: privileges.py UID GID keep|drop PROGRAM [ARGUMENT...]. With `keep`, the right to pass folders closed to others
(CAP_DAC_OVERRIDE) is kept as an ambient capability, so that a clone below a folder like /root works without opening
that folder to anybody. Linux only; `keep` needs that capability, which root has, also in an ordinary container.
"""

import ctypes
import os
import sys

# linux/capability.h and linux/prctl.h
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_DAC_OVERRIDE = 1
_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def main(argv: list[str]) -> None:
    uid, gid, keep = int(argv[0]), int(argv[1]), argv[2] == "keep"
    libc = ctypes.CDLL(None, use_errno=True)
    if keep:
        _check(libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0))
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if keep:
        mask = 1 << _CAP_DAC_OVERRIDE
        sets = (_Sets * 2)(_Sets(mask, mask, mask), _Sets(0, 0, 0))
        _check(libc.capset(ctypes.byref(_Header(_CAPABILITY_VERSION_3, 0)), sets))
        _check(libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0))
    os.chdir("/")
    os.execv(argv[3], argv[3:])


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        sys.exit(f"The right to pass closed folders can't be kept: {os.strerror(number)}.")


if __name__ == "__main__":
    main(sys.argv[1:])
