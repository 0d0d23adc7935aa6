"""What is kept of the rows a champion learned from, and how far others lie from them."""
