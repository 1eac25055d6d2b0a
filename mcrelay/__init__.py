"""mcrelay relays chosen UDP multicast flows from sources nobody can route, from a routable address.

The map of the code. A package is either pure (no clock, socket, file or log; values in, values out) or a
place where code runs, and the first line of its docstring says which. Imports run one way, from `cli` down to
`model`.

A reload, in the order to read it:

    supervisor/loop.py           SIGHUP, a changed link or a changed file (file_watch/) starts a reload
    supervisor/configuration.py  accepts or rejects the files, and publishes the result
    storage/config_files.py      reads the main file and its drop-ins, once and whole
    config/reader.py             YAML text -> data that knows file:line:column
    config/compiler.py           data -> Config (model.py): the schema first, then the rules across fields
    supervisor/host_routing.py   what the kernel answers about routes and neighbours (reconcile/neighbours.py)
    reconcile/plan.py            Config, links and answers -> the desired state, and the status of each rule
    reconcile/placement.py       which data plane relays a rule: the workers, or the program in the kernel
    reconcile/paths.py           output and its route -> source address and socket, or the fault
    reconcile/diff.py            running and desired state -> actions, additions before removals
    reconcile/reconciler.py      actions -> commands, one batch at a time for each worker
    supervisor/sockets.py        opens what a batch needs; privileged.py has each call that needs a capability
    protocol/worker.py           the batch, its acknowledgement, and the other messages of a worker
    supervisor/kernel_plane.py   applies the batch of the kernel data plane to its maps (kernel/maps.py)
    worker/forwarding.py         applies the batch; worker/loop.py acknowledges it
    reload/results.py            the result, once everything that was accepted runs

A packet in the kernel data plane, in the order to read it:

    kernel/program/relay.bpf.c   looks up the flow of a packet that a device has received
    kernel/program/reader.h      frame -> header fields and verdict; checksum.h: whether UDP's is right
    kernel/program/sender.h      sends the packet to each output, and makes it again what it was
    kernel/program/counters.h    counts what became of it; kernel/counters.py reads the counts
    kernel/maps.py               the flows, which supervisor/kernel_flows.py sets and deletes in order

A packet in the workers, in the order to read it:

    worker/loop.py               wakes up when a packet ring has frames
    worker/ring.py               the frames that the kernel has put into the ring
    worker/array_path.py         many packets as numpy columns (scalar_link.py: few packets)
    packet/headers.py            frames -> header fields, and the fault of each packet (scalar.py: one frame)
    worker/packet_age.py         which packets waited too long
    packet/fib.py                flow -> outputs
    worker/segments.py           packets that leave in one message
    worker/egress.py             one sendmmsg(2) for each egress socket and batch
    worker/counters.py           counts what became of each packet (model/counters.py, model/drops.py)
    worker/near_misses.py        counts for a rule what was probably meant for it
    worker/trace_capture.py      writes events of traced rules into shared memory (tracing/ring.py)
"""

__version__ = "0.1.0"
