"""What joins coordinator and clients: their messages, and how Flower carries them."""
