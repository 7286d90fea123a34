"""What mail servers answer, and what that means for a mail."""
