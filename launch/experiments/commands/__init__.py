"""What the commands on weight files do."""
