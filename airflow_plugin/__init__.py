"""What Airflow's own processes load by name, so it is installed with the project: triggers."""
