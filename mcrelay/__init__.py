"""mcrelay relays chosen UDP multicast flows from sources nobody can route, from a routable address.

The map of the code. A file directly in this package is pure: values in, values out, and neither clock,
socket, file nor log. A folder is a place where code runs.

A reload, in the order to read it:

    supervisor/loop.py      a signal, a link or a changed file asks for it (supervisor/watch.py, quiet.py)
    supervisor/configuration.py  takes the files or rejects them, and says what became of it (reloads.py)
    source.py               YAML text -> data that knows file:line:column (scalar.py, places.py, problem.py)
    config.py               data -> Config: the schema (shape.py, sound.py), then across fields (part.py)
    plan.py                 Config + LinkTable -> the desired State, and why a rule does not run
    reconcile.py            desired and running -> commands; with failures.py, process.py, paused.py beside it
    diff.py                 running, desired -> actions, additions first
    supervisor/privileged.py  every call that needs a capability (limits.py: what the system allows)
    wire.py                 the messages between supervisor and worker
    worker/loop.py          applies the batch and acknowledges it

A packet, in the order to read it:

    worker/ring.py          frames that the kernel put into the packet ring
    packet.py               a batch of frames -> header columns and verdicts
    fib.py                  flow -> outputs
    worker/runs.py          packets that leave in one message
    worker/egress.py        one sendmmsg for each egress socket and batch
    counters.py             what became of every packet

A trial, such as `mcrelay try` begins, in the order to read it:

    wish.py                 what is asked for (supervisor/requests.py: in a file, before the signal)
    trial.py                until when it lasts, and what a start makes of it
    supervisor/configuration.py  accepts, confirms and rolls back
    supervisor/trials.py    the trial that runs, and what comes back after it
    supervisor/archive.py   the state directory: history.py, and what a crash must not forget

A question, such as `mcrelay status`, in the order to read it:

    control/client.py       what the command line asks with
    rpc.py                  a line of JSON -> a request, or what is wrong with it
    control/clients.py      all connections in turn (connection.py: one of them, and its limits)
    control/methods.py      what may be asked, and whom it is passed to
    control/view.py         the documents, of what is known (known.py) and was counted (counts.py)
    picture.py              how the supervisor tells what there is, in the words of news.py

A trace, in the order to read it:

    worker/watch.py         what becomes of which packets (tracing.py: of which rules, pen.py: and how many)
    trace.py                events in memory that workers write and the control process reads
    control/traces.py       who follows which rule, from where, and until when
    story.py                an event as JSON, and as a line; pcapng.py: as Wireshark reads it

The vocabulary that all of them share is state.py. The verbs of the command line are in cli/, one a module:
what `add` writes is dropin.py, what becomes of files that a verb changes is in cli/change.py, and what `send`
and `receive` put into packets and make of them is probe.py and reception.py. lab/ builds the network
namespaces in which the demo and the tests relay real packets.
"""

__version__ = "0.1.0"
