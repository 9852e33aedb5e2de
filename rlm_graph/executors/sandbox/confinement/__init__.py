"""What the kernel takes from a process that runs a model's code: Landlock, seccomp, namespaces."""
