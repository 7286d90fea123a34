"""Worker processes as the machine sees them: started, watched, replaced, reported on; no database is needed."""
