"""The broker's part of a worker process: started, reported on, ended in order."""
