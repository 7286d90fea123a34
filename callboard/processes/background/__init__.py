"""The background worker of a folder: callboard work, detached, and its logs."""
