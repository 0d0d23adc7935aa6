#!/bin/sh
# Run once by the image of PostgreSQL, when its volume is empty: a role and a database for Airflow and for MLflow.
set -eu
for name in airflow mlflow; do
  psql -v ON_ERROR_STOP=1 -v name="$name" -v password="$(cat "${SECRETS:-/run/secrets}/${name}_password")" \
    --username "$POSTGRES_USER" --dbname postgres <<'SQL'
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
SQL
done
