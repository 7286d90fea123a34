"""The measurements, one file each; all return plain dictionaries for the result file."""
