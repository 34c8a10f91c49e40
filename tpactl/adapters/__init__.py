"""What can be trained on a frozen base: a file per method, a registry, attach, store, merge."""
