"""Pure: trace events, their ring in shared memory, and their forms as text and pcapng."""
