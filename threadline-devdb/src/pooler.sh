# Runs one PgBouncer for as long as somebody holds the other end of standard input; see watchdog.sh, whose idea it is.
#
# Answers "started" on standard output, or what went wrong and then the end of the output.
#
# usage: pooler PGBOUNCER RUN_DIR CONFIGURATION
trap '' INT TERM HUP PIPE
exec 2>&1
pgbouncer=$1 run=$2 configuration=$3

mkdir -m 700 "$run" || exit 1
printf '%s\n' "$configuration" >"$run/pgbouncer.ini"
"$pgbouncer" "$run/pgbouncer.ini" </dev/null >"$run/log" 2>&1 &
pooler=$!

# Killed because TERM means to wait for the clients from PgBouncer 1.23 on; all it leaves is in the directory.
clean_up() {
    kill -s KILL "$pooler"
    wait "$pooler"
    rm -rf "$run"
}

waited=0
until grep -q 'process up' "$run/log"; do
    waited=$((waited + 1))
    if [ "$waited" -gt 500 ]; then
        cat "$run/log"
        exec >/dev/null 2>&1
        clean_up
        exit 1
    fi
    # Nobody to wait for: it has ended, and its output says why.
    kill -s 0 "$pooler" 2>/dev/null || waited=500
    sleep 0.02
done
echo started
exec >/dev/null 2>&1

while read -r _; do :; done
clean_up
