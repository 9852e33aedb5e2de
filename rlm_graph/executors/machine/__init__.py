"""REPLs of this machine: their folders, and the fork server that starts them."""
