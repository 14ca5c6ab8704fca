"""An exported folder, and the detector read from it: nothing here loads PyTorch."""
