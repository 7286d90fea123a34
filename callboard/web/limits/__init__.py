"""How much the API does at once, so that no kind of request takes another's share."""
