"""What proves a family: replays of reference vectors, one module per family; `RegisteredTask.replay` imports the one it needs."""
