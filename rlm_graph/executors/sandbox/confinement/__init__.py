"""Confinement, inside the sandbox: what the kernel takes from the worker. Landlock, seccomp, namespaces, limits."""
