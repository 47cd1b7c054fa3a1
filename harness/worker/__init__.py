"""What runs inside a worker process. Standard library only: any engine's interpreter can run it."""
