"""What is known of the data before anything is trained on it: checks, statistics, what drift is measured against."""
