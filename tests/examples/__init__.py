"""Short programs for the README; the tests beside them run each."""
