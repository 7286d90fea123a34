"""What a worker's threads say while the database is away or refuses them."""
