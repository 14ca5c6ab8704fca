"""A detector behind HTTP: for programs, for clients of the Open Inference Protocol, for people."""
