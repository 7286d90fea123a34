"""Periodic messages: declared beside their actor, sent by one worker of all."""
