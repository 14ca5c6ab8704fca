"""What runs below everything: devices, processes, files, printing."""
