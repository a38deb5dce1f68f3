#!/bin/sh
# Makes and updates Temporal's two databases; running it again changes nothing.
set -eu
schema=/etc/temporal/schema/postgresql/v12
for pair in temporal:temporal temporal_visibility:visibility; do
	db=${pair%%:*}
	dir=${pair##*:}
	temporal-sql-tool --database "$db" create-database
	temporal-sql-tool --database "$db" setup-schema -v 0.0
	temporal-sql-tool --database "$db" update-schema -d "$schema/$dir/versioned"
done
