# Runs the SQL it was given on standard input once that has ended, however the process that wrote it ended.
#
# usage: janitor PSQL, with libpq's environment variables set
trap '' INT TERM HUP
sql=$(cat)
# Statement by statement: one that fails, because its database is gone already, does not stop the rest.
[ -z "$sql" ] || printf '%s\n' "$sql" | "$1" --no-psqlrc --quiet
