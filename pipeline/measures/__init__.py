"""What training and judging measure alike; here, so that judging can be edited and nothing is trained anew."""
