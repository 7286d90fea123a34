"""What a typed line means before it is a command of ours: old habits, mistakes, a base install."""
