"""What runs on a Ray cluster: the processes of a training, started again on other nodes when one is lost."""
