"""How the failure of an attempt is kept, and what failures of one cause share."""
