"""What keeps a worker in its place: it starts it, reads what it tells, and speaks to hosts."""
