"""Many runs at once: their folders and states, the table over them, grids and searches."""
