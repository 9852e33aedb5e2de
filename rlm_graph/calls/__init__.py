"""What code asks of the host: requests, their record, and who may be asked."""
