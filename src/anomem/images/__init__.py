"""Where images come from: files, folders, arrays and data sets, as tensors of one size."""
