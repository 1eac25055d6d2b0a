"""The process with the privilege: it decides what runs, and starts and watches those that do it."""
