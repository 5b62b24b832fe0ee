"""Where runs are stored: local folders and object stores."""
