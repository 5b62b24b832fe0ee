"""Where runs are: folders of this machine, and object stores."""
