"""Report files, kept wherever REPORT_STORAGE_URL says, and the links to them."""
