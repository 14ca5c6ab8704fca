"""Where images come from: files, folders, arrays and data sets, as frames of one size."""
