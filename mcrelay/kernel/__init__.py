"""Runs: the kernel data plane: its program, the maps that it reads and counts in, and what loads it.

program/         the program in C, compiled when the package is built (packaging/build_hook.py)
layout.py        the maps: names, sizes, and the layout of keys, values and counters
bpf.py           the system call bpf(2)
btf.py           types of the functions that the verifier verifies once
object_file.py   the instructions in the compiled program
loader.py        puts the program into the kernel
maps.py          what the maps hold: flows, own endpoints, addresses, links
segments.py      maps of maps that grow
counters.py      reads the counters that the program writes
bpf_map.py       thousands of entries with one system call
plane.py         opens, adopts, attaches and removes the data plane, which goes on without a process
hooks.py         where the program runs: tcx links, or classifiers below clsact
location.py      the directory of a daemon in the bpf file system
"""
