"""From data to a file's bytes: PDF, CSV, XLSX, HTML."""
