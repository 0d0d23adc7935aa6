"""Several processes that train together: how each finds its place, how they meet, and how they are started."""
