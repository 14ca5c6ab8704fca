"""One thin function a command: what is asked for, done, and told."""
