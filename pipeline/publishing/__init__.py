"""What publishing is made of: the golden rows, the proof in a fresh process, the requirements and the card."""
