"""Messages wherever they are: finding them, their story, why one does not run, cancelling."""
