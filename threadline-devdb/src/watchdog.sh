# Runs one PostgreSQL server for as long as somebody holds the other end of standard input.
#
# The kernel closes that pipe however the holder ends, by exit, signal or SIGKILL, so nothing is left behind. Every
# step that leaves something to clean up happens here, after the traps. Answers "started PID" on standard output, or
# what went wrong and then the end of the output.
#
# usage: watchdog PROGRAMS RUN_DIR HOME_DIR throwaway|kept [postgres options]
# RUN_DIR holds the socket and is removed at the end; HOME_DIR holds data/ and log. They are one when throwaway.
trap '' INT TERM HUP PIPE
exec 2>&1
programs=$1 run=$2 home=$3 mode=$4
shift 4

case $mode in
    throwaway) no_sync=--no-sync stop=QUIT ;; # immediate: nobody reads the data again
    kept) no_sync= stop=INT ;; # fast: sessions end, the data is written
esac

give_up() {
    tail -n 30 "$home/log"
    rm -rf "$run"
    exit 1
}

mkdir -m 700 "$run" || exit 1
if ! [ -x "$home" ] || ! [ -w "$home" ]; then
    echo "the account $(id -un) that runs PostgreSQL cannot enter or write to $home; choose another directory"
    rm -rf "$run"
    exit 1
fi
: >"$home/log"

if ! [ -d "$home/data" ]; then
    # Renamed when complete, so that a directory called data is never half of one.
    rm -rf "$home/new"
    "$programs/initdb" -D "$home/new" -U postgres -A trust -E UTF8 --locale=C.UTF-8 $no_sync >>"$home/log" 2>&1 \
        && mv "$home/new" "$home/data" || give_up
fi

# The server holds our standard output open as its descriptor 3 and writes nothing there: its end is seen as the end
# of the output.
"$programs/postgres" -D "$home/data" -k "$run" "$@" 3>&1 >>"$home/log" 2>&1 </dev/null &
server=$!
echo "started $server"
exec >/dev/null 2>&1

# A process that joins a kept server writes a word and waits for the file of that name: see kept.rs.
while read -r word; do : >"$home/$word"; done

# Again and again, because a shell's background job ignores QUIT and INT until the server has set its own handlers.
while kill -s "$stop" "$server"; do sleep 0.02; done
rm -rf "$run"
