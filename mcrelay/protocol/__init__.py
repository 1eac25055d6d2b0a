"""Pure: messages between the processes of the daemon, and messages between the daemon and its clients."""
