# Where the server to be examined is: the first argument, else one built here. Leaves `target` and `server`, and takes that
# argument away. To be read in (`.`) where the sources lie.
target=${CARGO_TARGET_DIR:-$PWD/target}
server=${1:-}
[ $# -eq 0 ] || shift
if [ -z "$server" ]; then
    cargo build --quiet --release --bin quorate
    server=$target/release/quorate
fi
cargo build --quiet -p quorate-jepsen
