"""What fine-tuning adds to the training engine: which weights learn, from what, and how often."""
