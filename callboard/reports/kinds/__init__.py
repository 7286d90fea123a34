"""The kinds of reports: what each asks for, where its data comes from, what it looks like."""
