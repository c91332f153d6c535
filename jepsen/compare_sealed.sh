#!/usr/bin/env bash
# Stock etcdctl over TLS with users, on stock etcd and on ours: what it prints, and its exit codes, must be equal. Among it: wrong,
# missing and strange certificates, wrong passwords, and names from certificates.
#
#   jepsen/compare_sealed.sh ETCD SERVER ETCDCTL        the binaries of stock etcd, of ours and of etcdctl; needs openssl
#
# FIRST_PORT: four ports from here on are taken (12640). KEEP: a file for what was printed.
set -euo pipefail
[ $# -eq 3 ] || { sed -n 's/^# \{0,1\}//p' "$0" >&2; exit 2; }
etcd=$(realpath "$1") server=$(realpath "$2") ctl=$(realpath "$3")
port=${FIRST_PORT:-12640}
work=$(mktemp -d)
member=
trap '[ -z "$member" ] || { kill "$member"; wait "$member" || true; }; rm -rf "$work"' EXIT
cd "$work"

authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$1.key" -out "$1.crt" \
        -subj "/CN=$1" -days 30 2>/dev/null
}

# issue FILE AUTHORITY NAME USES
issue() {
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$1.key" -out request -subj "/CN=$3" 2>/dev/null
    printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=%s\n' "$4" >extensions
    openssl x509 -req -in request -CA "$2.crt" -CAkey "$2.key" -CAcreateserial -out "$1.crt" -days 30 \
        -extfile extensions 2>/dev/null
}

authority ca
authority other
issue server ca server serverAuth,clientAuth
for name in root alice nobody; do issue $name ca $name clientAuth; done
issue stranger other root clientAuth

# Without retries' own lines, times, ids and tokens: they differ from run to run.
plain() {
    sed -E -e '/"msg":"retrying of unary invoker failed"/d' -e 's/"(cluster_id|member_id|raft_term)":[0-9]+/"\1":0/g' \
        -e 's/\b[0-9a-f]{16}\b/<id>/g'
}

# try CERTIFICATE ARGUMENT...
try() {
    local shown=$1 code=0
    shift
    echo "> $shown: $*"
    local -a certificate=(--cert "$shown.crt" --key "$shown.key")
    [ "$shown" != none ] || certificate=()
    "$ctl" --endpoints "$url" --cacert ca.crt "${certificate[@]}" "$@" >out 2>err || code=$?
    plain <out
    plain <err
    echo "= $code"
}

session() {
    local short=(--command-timeout 2s --dial-timeout 2s)
    try nobody put a 1
    try nobody put b 2
    for user in root alice; do try nobody user add "$user:pw-$user"; done
    try nobody user add nologin --no-password
    try nobody user grant-role root root
    for role in reader writer; do try nobody role add $role; done
    try nobody role grant-permission reader read a
    try nobody role grant-permission writer readwrite w --prefix=true
    try nobody user grant-role alice reader
    try nobody auth enable
    # Names from certificates.
    try alice get a
    try alice get b
    try alice put a 3
    try alice get a --prefix
    try alice user list
    try alice user get alice
    try alice role get reader
    try alice role get writer
    try root user list
    try root user get alice --detail
    try root get '' --prefix
    try nobody get a
    try nobody user list
    # Passwords come before names.
    try nobody --user alice:pw-alice get a
    try alice --user root:pw-root user list
    try alice --user alice --password pw-alice get b
    try nobody --user alice:wrong get a
    try nobody --user nologin:x get a
    try nobody --user ghost:x get a
    # Certificates that are none.
    try none "${short[@]}" get a
    try stranger "${short[@]}" get a
    try server "${short[@]}" get a
    # Rights that change.
    try root user grant-role alice writer
    try alice put w/1 x
    try alice txn --interactive=false <<<$'value("w/1") = "x"\n\nput w/2 y\n\nget a\n\n'
    try alice txn --interactive=false <<<$'value("w/1") = "x"\n\nget b\n\n\n'
    try alice del w --prefix --prev-kv
    try root role revoke-permission writer w --prefix=true
    try alice put w/1 x
    try root user revoke-role alice reader
    try alice get a
    try root user passwd alice --interactive=false <<<new
    try nobody --user alice:pw-alice get a
    try nobody --user alice:new get a
    try alice lease grant 600
    try alice lease list
    try alice member list
    try alice endpoint health
    try alice auth status
    try root auth status
    try root user delete root
    try root role delete root
    try alice auth disable
    try root auth disable
    try nobody get a
}

# run BINARY NAME FIRST-PORT
run() {
    local peer=http://127.0.0.1:$(($3 + 1))
    url=https://127.0.0.1:$3
    "$1" --name default --data-dir "$work/$2" --log-level error --listen-client-urls "$url" --advertise-client-urls "$url" \
        --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "default=$peer" \
        --cert-file server.crt --key-file server.key --trusted-ca-file ca.crt --client-cert-auth --bcrypt-cost 4 \
        >"$2.log" 2>&1 &
    member=$!
    until curl -fs --cacert ca.crt --cert root.crt --key root.key "$url/health" >health && grep -q true health; do
        kill -0 $member || { cat "$2.log"; return 1; }
        sleep 0.1
    done
    session | sed "s,$url,<url>,g; s,127.0.0.1:$3,<address>,g; s,$peer,<peer>,g; s/took = [^ ]*/took = ?/" >"$2.txt"
    kill $member
    wait $member || true
    member=
}

run "$etcd" etcd "$port"
run "$server" quorate $((port + 2))
[ -z "${KEEP:-}" ] || cp etcd.txt "$KEEP"
diff etcd.txt quorate.txt
echo "sealed: $(grep -c '^> ' etcd.txt) commands over TLS with users, $(grep -c '^= 0' etcd.txt) taken, 0 different"
