"""What an operator can see and do; CLI, API and dashboard are skins over it."""
