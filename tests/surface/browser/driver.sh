# Runs one ChromeDriver, and the browser it starts, for as long as somebody holds the other end of standard input.
#
# Answers the port on standard output, or what went wrong and then the end of the output.
#
# usage: driver RUN_DIR
trap '' INT TERM HUP PIPE
exec 2>&1
run=$1

mkdir -m 700 "$run" || exit 1
chromedriver --port=0 </dev/null >"$run/log" 2>&1 &
driver=$!

# The browser is in a process group of its own, and outlives its driver: its folder tells which processes are its.
clean_up() {
    kill -s KILL "$driver"
    wait "$driver"
    for process in /proc/[0-9]*; do
        if tr '\0' '\n' <"$process/cmdline" | grep -qF -e "--user-data-dir=$run/profile"; then
            kill -s KILL "${process#/proc/}"
        fi
    done
    sleep 0.2
    rm -rf "$run"
}

waited=0
until grep -q 'started successfully on port' "$run/log"; do
    waited=$((waited + 1))
    if [ "$waited" -gt 500 ]; then
        cat "$run/log"
        exec >/dev/null 2>&1
        clean_up
        exit 1
    fi
    kill -s 0 "$driver" 2>/dev/null || waited=500
    sleep 0.02
done
sed -n 's/.*started successfully on port \([0-9]*\).*/port \1/p' "$run/log"
exec >/dev/null 2>&1

while read -r _; do :; done
clean_up
