"""callboard work, api, and the background worker."""
