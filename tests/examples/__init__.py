"""Short programs for the README; test_examples runs each."""
