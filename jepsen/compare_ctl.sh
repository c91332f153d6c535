#!/usr/bin/env bash
# Compares two etcdctl-like tools side by side against one server or one cluster: standard output, standard error
# and exit code of every command, in all formats, for good and bad input. tests/golden.rs holds the same without the
# stock tools; here are the cases that need several members, and any other server.
#
#   jepsen/compare_ctl.sh REFERENCE CANDIDATE ENDPOINT[,ENDPOINT...]
#
# With several endpoints, which must be all members of one cluster, the commands that change members and leaders are
# compared too. Endpoints must be on loopback: the script writes, deletes, compacts, adds and removes there. ONLY=cluster
# leaves out what one endpoint is enough for. Ends with 1 on any difference. What cannot be equal is masked: the tool's
# name, times, log lines, and after writes revisions and ids.
set -u
if [ $# -ne 3 ]; then sed -n '2,12p' "$0" >&2; exit 2; fi
reference=$1 candidate=$2 endpoints=$3 endpoint=${3%%,*}
IFS=, read -ra each_endpoint <<<"$endpoints"
for one in "${each_endpoint[@]}"; do
  case ${one#http://} in
    127.*|localhost:*|'[::1]:'*) ;;
    *) echo "the endpoints must be on loopback" >&2; exit 2 ;;
  esac
done
unset "${!ETCDCTL_@}"
work=$(mktemp -d); mkdir "$work/passed"; trap 'rm -rf "$work"' EXIT
total=0 different=0 passing=0

# What differs from run to run or by name alone.
clean() {
  LC_ALL=C awk '/^Examples:$/{skip=1;next} skip&&/^[A-Za-z]/{skip=0} !skip' | sed -E -e '/^\{"level":/d' -e '/^endpoint [^ ]+: /d' -e '/^stty: /d' -e 's/etcdctl|quoratectl/CTL/g' \
    -e 's/took( =|\.)? [0-9.hms]+(µs|ns|ms|s)?/took T/g' -e 's/"took":"[^"]*"/"took":"T"/g' -e 's/^"Took" : .*/"Took" : T/'
}
# What a write made earlier moves on.
masked() {
  clean | sed -E -e 's/"(revision|create_revision|mod_revision|version|raftIndex|raftAppliedIndex|dbSize|dbSizeInUse|hash|hash_revision|ttl)":[0-9]+/"\1":N/g' \
    -e 's/"(ID|id)":[0-9]+/"\1":L/g' -e 's/lease [0-9a-f]{16}/lease L/g' -e 's/remaining\([0-9]+s\)/remaining(R)/' \
    -e 's/"member_id":("?)[0-9a-f]+/"member_id":\1M/' -e 's/^"MemberID" : .*/"MemberID" : M/' \
    -e 's/^"(\w*Revision|\w*Version|RaftIndex|RaftAppliedIndex|DBSize|DBSizeInUse|Hash|ID|TTL|\w*Lease)" : [0-9]+/"\1" : N/'
}
# A table's cells that move with time move the frame, too: a row of them is held against its names.
framed() { masked | sed -E -e 's/─+/─/g' -e 's/[0-9.]+(µs|ns|ms|s) /T /g' -e 's/ +/ /g'; }
# What a lock's key shows of its lease.
held() { masked | sed -E -e 's#/[0-9a-f]{10,16}#/L#' -e 's/"key":"[^"]*"/"key":"K"/g' -e 's/"lease":[0-9]+/"lease":L/g'; }
# Lists that the reference tool prints in no order.
unordered() { masked | sed -E -e 's/\},\{/}\n{/g' -e 's/[][]//g' | LC_ALL=C sort; }
# The ids and ports of members that come and go, and where by their ids they stand among the others.
anonymous() {
  masked | sed -E -e 's/Member +[0-9a-f]{1,16} /Member M /' -e 's/^[0-9a-f]{1,16}, unstarted/M, unstarted/' \
    -e 's/127\.0\.0\.1:[0-9]{1,3}\b/127.0.0.1:P/g' -e 's/"ID":"[0-9a-f]+"/"ID":"M"/g' \
    -e 's/^(ETCD_INITIAL_CLUSTER=")((m[0-9]=[^,"]*,)+)(n[^,]*P(,n[^,]*P)?)(.*)$/\1\4,\2\6/' \
    -e 's/("members":\[)((\{[^}]*"name"[^}]*\},)+)(\{"ID":("M"|L),"peerURLs"[^}]*\})/\1\4,\2/' \
    -e 's/,+(\]|"$)/\1/g' -e 's/,+/,/g' | LC_ALL=C sort
}


# run TOOL SIDE FILTER INPUT ARGS...: leaves SIDE.out, SIDE.err, SIDE.code
run() {
  local tool=$1 side=$2 filter=$3 input=$4; shift 4
  printf "$input" | timeout "${LIMIT:-60}" "$tool" "$@" >"$work/raw.out" 2>"$work/raw.err"
  echo "${PIPESTATUS[1]}" >"$work/$side.code"
  $filter <"$work/raw.out" >"$work/$side.out"
  $filter <"$work/raw.err" >"$work/$side.err"
}
judge() {
  total=$((total + 1))
  local part
  for part in code out err; do
    if ! cmp -s "$work/a.$part" "$work/b.$part"; then
      different=$((different + 1))
      echo "DIFFERENT $part: $*"
      diff -a "$work/a.$part" "$work/b.$part" | head -20
      return
    fi
  done
}
differ() { ! { cmp -s "$work/a.code" "$work/b.code" && cmp -s "$work/a.out" "$work/b.out" && cmp -s "$work/a.err" "$work/b.err"; }; }
both() {
  local filter=$1 input=$2 factor part passed=0; shift 2
  # What goes on for ever has its LIMIT in seconds, which is little on a busy machine; and of several members another may lead
  # between the two (AGAIN). Neither does harm twice, so what differs is tried again with more time.
  for factor in 1 ${LIMIT:+5 30} ${AGAIN:+1 1 1}; do
    LIMIT=${LIMIT:+$((LIMIT * factor))} run "$reference" a "$filter" "$input" "$@"
    LIMIT=${LIMIT:+$((LIMIT * factor))} run "$candidate" b "$filter" "$input" "$@"
    differ || break
    passed=$((passed + 1))
    cp "$work"/[ab].{code,out,err} "$work/passed"
  done
  # What went away is told all the same: a difference that shows now and then is one.
  if [ "$passed" -gt 0 ] && ! differ; then
    passing=$((passing + 1))
    echo "WENT AWAY at attempt $((passed + 1)): $* <<< $input"
    for part in code out err; do diff -a "$work/passed/a.$part" "$work/passed/b.$part" | head -10; done
  fi
  judge "$* <<< $input"
}
at=(--endpoints "$endpoint")
# A read: nothing is masked but times and names.
read_() { local w; both clean '' "${at[@]}" "$@"; for w in json fields table protobuf; do both clean '' "${at[@]}" "$@" -w $w; done; }
# A read of a list that has no order.
list_() { local w; for w in simple json fields; do both unordered '' "${at[@]}" "$@" -w $w; done; }
# A write, by each tool in turn, after one that both find done.
write_() { "$reference" "${at[@]}" "$@" </dev/null >/dev/null 2>&1; both masked '' "${at[@]}" "$@"
  both masked '' "${at[@]}" "$@" -w json; both masked '' "${at[@]}" "$@" -w fields; }
# Bad input: one format will do.
bad() { both clean '' "${at[@]}" "$@"; }
txn() { both masked "$1" "${at[@]}" txn "${@:2}"; both masked "$1" "${at[@]}" txn "${@:2}" -w json; both masked "$1" "${at[@]}" txn "${@:2}" -w fields; }
reset() { "$reference" "${at[@]}" del '' --prefix >/dev/null; }
grant() { "$reference" "${at[@]}" lease grant "$1" | cut -d' ' -f2; }

one_endpoint() {
reset
# put
write_ put a 1; write_ put a 2 --prev-kv; write_ put a --ignore-value; write_ put a 3 --ignore-lease
write_ put 'a<b>&' $'\xff\xfe"\\\n'; write_ put -- -k -v; write_ put 'é' ''; write_ put a 3 --hex --prev-kv
both masked 'from stdin\n' "${at[@]}" put in; both masked '' "${at[@]}" put in
for i in 1 2 3 4 5; do "$reference" "${at[@]}" put "k$i" "v$((i * 7 % 5))" >/dev/null; done
# get
for flags in '' --prefix --from-key --keys-only '--prefix --limit 2' '--prefix --order DESCEND' \
  '--prefix --sort-by VALUE --order ascend' '--prefix --sort-by create' '--prefix --sort-by MODIFY --order descend' \
  '--prefix --sort-by version --limit 3' --hex '--hex --prefix' '--consistency s' '--prefix --keys-only' \
  --print-value-only --count-only '--count-only -w fields' '--stream --prefix' '--stream --prefix --limit 2' --rev=0x1 '--rev 1000000' \
  '--prefix --min-mod-rev 3' '--prefix --max-mod-rev 5' '--prefix --min-create-rev 2 --max-create-rev 9'; do
  [[ $flags == *fields* ]] || read_ get k $flags
done
read_ get '' --prefix; read_ get '' --from-key; read_ get k1 k4; read_ get nosuch; read_ get a b c; read_ get 'a<b>&'; read_ get ''
for args in 'get' 'get a b --prefix' 'get a --prefix --from-key' 'get a --keys-only --count-only' 'get a --consistency x' \
  'get a --order foo' 'get a --sort-by foo' 'get a --min-mod-rev 5 --max-mod-rev 3' 'get a --min-create-rev 5 --max-create-rev 3' \
  'get a --rev x' 'get a --rev' 'get a -p' 'get a --prefix=' 'get a --prefix=maybe' 'get a --rev 9999999999999999999' \
  'get a --limit 1.5' 'get a --command-timeout 1' 'get a --command-timeout x' 'get a --command-timeout 1x' 'get a --bogus' \
  'get a --bogus=3' '--bogus get a' 'get a -w' 'get a -w xml' 'get -wjson a' 'get a -w=json' 'get a --prefix=F' \
  'get a --hex=1' 'put' 'put --bogus' 'put a b --lease zz' 'put a b --lease=' 'put a b --lease 777' 'put a -1' 'put a --lease' \
  'put a b --ignore-value' 'put nosuch --ignore-value' 'put nosuch b --ignore-lease' 'put a b --lease 8000000000000000' \
  'del' 'del a b c' 'del a --prefix --from-key' 'del a b --prefix' 'compaction' 'compaction x' 'compaction 1 2' \
  'compaction 100000000' 'compact x' 'lease grant' 'lease grant x' 'lease grant 10000000000' 'lease revoke' 'lease revoke zz' \
  'lease revoke 123' 'lease timetolive' 'lease timetolive zz' 'lease timetolive 8000000000000000' 'lease keep-alive' \
  'lease keep-alive zz' 'lease keep-alive 123 --once' 'lease keep' 'lease gr' 'alarm list x' 'alarm disarm x' \
  'alarm list --bogus' 'lease --bogus' 'member list --consistency x' 'endpoint hashkv --rev 100000000' 'endpoint hashkv --rev x' \
  'txn x' 'watch' 'watch a --' 'watch a b --prefix' 'watch --rev x a' '--hex=maybe version' '--cert= get a' '-q get a'; do
  bad $args
done
# del
for flags in '' --prev-kv '--prefix --prev-kv' --from-key; do write_ del nosuch $flags; done
write_ del k1 k2
"$reference" "${at[@]}" put d1 1 >/dev/null; both masked '' "${at[@]}" del x y --range
for tool in "$reference" "$candidate"; do
  side=$([ "$tool" = "$reference" ] && echo a || echo b)
  "$reference" "${at[@]}" put d1 1 >/dev/null; "$reference" "${at[@]}" put d2 2 >/dev/null
  run "$tool" "$side" masked '' "${at[@]}" del d --prefix --prev-kv
done; judge 'del d --prefix --prev-kv'
# txn
txn 'mod("a") > "0"\n\nput a 9\nget a\ndel nosuch --prefix\nget k --prefix\n\nget z\n\n'
txn 'mod("a") < "0"\n\nget k\n\nget k2\nget k --prefix --keys-only\n\n' ; txn '\n\n\n' -i
txn 'val("a") = "9"\nver("a") != "0"\nc(`a`) < "100000000"\ncreate("a") > "0"\n\nput a "9" --prev-kv\n\n\n'
txn 'mod("a")= "0"\n\n\n\n'; txn 'mod("a) > "0"\n\n\n\n'; txn 'mod(a) > "0"\n\n\n\n'; txn 'modx("a") > "0"\n\n\n\n'
txn 'mod("a") > "x"\n\n\n\n'; txn 'mod "a" > "0"\n\n\n\n'; txn ''; txn '\n'; txn '\n\nget a'; txn 'mod("a") > "0"'
txn '\nput b "unterminated v\n\n\n'; txn "\nput b 'unterminated v\n\n\n"; txn '\nput b\n\n\n'; txn '\nput b "a\\z"\n\n\n'
txn '\nfoo b\n\n\n'; txn '\nget\n\n\n'; txn '\nput x 1\nput x 2\n\n\n'; txn '\nput b --lease zz c\n\n\n'
txn '\nput b "multi\\nline\\x41\\u00e9"\n\n\n'; txn '\nput b "multi\\nline\\x41\\u00e9" --prev-kv\n\n\n'; txn '\ndel k1 k2 --range --prev-kv\n\n\n'; txn '\nget a b --prefix\n\n\n'
# lease
write_ lease grant 100; write_ lease grant 0
lease=$(grant 300); # One key only: etcd gives several in no order.
"$reference" "${at[@]}" put l1 v --lease "$lease" >/dev/null
write_ lease timetolive "$lease"; write_ lease timetolive "$lease" --keys; read_ lease timetolive 123; read_ lease timetolive -- -5
read_ get l1; read_ lease keep-alive "$lease" --once; read_ lease keep-alive 123; LIMIT=1 read_ lease keep-alive "$lease"
list_ lease list
for format in simple json; do
  for tool in "$reference" "$candidate"; do
    side=$([ "$tool" = "$reference" ] && echo a || echo b)
    run "$tool" "$side" masked '' "${at[@]}" lease revoke "$(grant 100)" -w $format
  done; judge "lease revoke -w $format"
done
# watch
past=$("$reference" "${at[@]}" get a -w json | sed -E 's/.*"create_revision":([0-9]+).*/\1/')
LIMIT=1 read_ watch a --rev "$past"; LIMIT=1 read_ watch k --prefix --rev "$past" --prev-kv; LIMIT=1 read_ watch d --prefix --rev "$past" --prev-kv --hex
LIMIT=1 bad watch a z y --rev "$past"; LIMIT=1 bad watch k1 k4 --rev "$past"; LIMIT=2 bad watch a --rev "$past" -- sh -c 'env | grep ^ETCD_WATCH_ | sort'
bad watch a --rev "$past" -- false; bad watch a --rev "$past" -- sh -c 'exit 3'
LIMIT=2 both clean "watch a --rev $past\n" "${at[@]}" watch -i
both clean 'bogus\n\nwatch\nwatch a b --prefix\n' "${at[@]}" watch -i
ETCDCTL_WATCH_KEY=a LIMIT=1 bad watch --rev "$past"; ETCDCTL_WATCH_KEY=a bad watch b; ETCDCTL_WATCH_RANGE_END=a bad watch b
ETCDCTL_WATCH_KEY=k1 ETCDCTL_WATCH_RANGE_END=k4 LIMIT=1 bad watch --rev "$past" -- echo event
# cluster
for args in 'member list' 'endpoint hashkv' 'put a b' 'alarm list' 'get a'; do bad $args -w table; done
both framed '' "${at[@]}" endpoint status -w table; both framed '' "${at[@]}" endpoint health -w table
both clean '' --endpoints 127.0.0.1:1 --command-timeout=300ms endpoint status -w table
read_ member list; read_ member list --consistency s; read_ member list --hex; read_ member list extra; read_ alarm list; read_ alarm disarm
write_ endpoint status; read_ endpoint hashkv; read_ endpoint hashkv --cluster; for w in simple json fields protobuf; do both clean "" "${at[@]}" endpoint health -w $w; done; list_ endpoint health --cluster; write_ endpoint status --cluster
write_ defrag; write_ defrag --cluster
# compaction, last but for what it changes
write_ compaction 1
now=$("$reference" "${at[@]}" get a -w json | sed -E 's/.*"revision":([0-9]+).*/\1/')
both masked '' "${at[@]}" put a compacted; run "$reference" a masked '' "${at[@]}" compaction "$now"
run "$candidate" b masked '' "${at[@]}" compaction $((now + 1)); sed -i "s/$((now + 1))/$now/" "$work/b.out"; judge 'compaction'
both clean '' "${at[@]}" compact "$now"; read_ get a --rev 2; read_ watch a --rev 1
# users and roles; those of earlier runs go first
local u r
for u in $("$reference" "${at[@]}" user list); do "$reference" "${at[@]}" user delete "$u" >/dev/null; done
for r in $("$reference" "${at[@]}" role list); do "$reference" "${at[@]}" role delete "$r" >/dev/null; done
"$reference" "${at[@]}" user add alice:pw >/dev/null; "$reference" "${at[@]}" role add reader >/dev/null
write_ user add alice:pw; write_ role add reader; write_ user grant-role alice reader; write_ role grant-permission reader readwrite /app/ --prefix
write_ role grant-permission reader read k; read_ role get reader; read_ role list; read_ user list; read_ user get alice; bad user get alice --detail
both masked 'pw\npw\n' "${at[@]}" user passwd alice; both masked 'pw\n' "${at[@]}" user passwd alice --interactive=false
both masked 'a\nb\n' "${at[@]}" user add eve; write_ user revoke-role alice reader; write_ role revoke-permission reader k
read_ auth status; bad auth enable; bad auth disable
# locks, elections, mirrors, snapshots
bad lock l echo hi; both clean '' "${at[@]}" lock l -- sh -c 'exit 3'; bad lock l nosuch
for format in simple json; do for w in 'lock n' 'elect e hello'; do LIMIT=2 both held '' "${at[@]}" $w -w $format; done; done
LIMIT=2 bad elect -l nobody
LIMIT=3 bad make-mirror --prefix a --dest-prefix mirrored/ "$endpoint"; bad get mirrored/ --prefix
both masked '' "${at[@]}" snapshot save "$work/snapshot"; both clean '' --endpoints a,b snapshot save "$work/snapshot"
# help of what both tools have in full
for words in get del compaction watch lease 'lease grant' 'lease list' 'lease revoke' 'lease timetolive' alarm 'alarm list' \
  'alarm disarm' defrag endpoint 'endpoint health' 'endpoint status' 'endpoint hashkv' 'member list' 'member add' 'member update' 'member remove' 'member promote' member move-leader options version; do
  bad $words --help; bad help $words
done
bad lease bogus; bad options; bad lease -h
# environment
ETCDCTL_ENDPOINTS=$endpoint both clean '' get a; ETCDCTL_WRITE_OUT=json both clean '' "${at[@]}" get a
ETCDCTL_HEX=true both clean '' "${at[@]}" get a; ETCDCTL_WRITE_OUT=xml both clean '' "${at[@]}" get a
# out of reach
for args in 'get a' 'put a b' 'del a' 'lease grant 12' 'lease revoke 12' 'alarm list' 'member list' 'compaction 3' 'endpoint health' \
  'endpoint health -w json' 'endpoint status' 'endpoint status -w json' 'endpoint hashkv' 'endpoint hashkv --cluster' 'defrag'; do
  both clean '' --endpoints 127.0.0.1:1 --command-timeout=300ms $args
done
both clean '' --endpoints= get a; both clean '' --endpoints "127.0.0.1:1,$endpoint" get a
# nobody reads
for i in $(seq 400); do echo "put big$i $(printf '%01000d' 0)"; done | split -l 100 - "$work/big."
for part in "$work"/big.*; do { echo; cat "$part"; echo; echo; } | "$reference" "${at[@]}" txn >/dev/null; done
local tool side
for tool in "$reference" "$candidate"; do
  side=$([ "$tool" = "$reference" ] && echo a || echo b); : >"$work/$side.out"
  { "$tool" "${at[@]}" get big --prefix 2>"$work/$side.err"; echo $? >"$work/$side.code"; } | true
  sleep 0.5
done; judge 'output to a closed pipe'
# members, without changing any
for args in 'member add' 'member add a' 'member add a --peer-urls=' 'member add a b' 'member add a http://b HTTP://c' 'member remove' \
  'member remove zz' 'member remove 1 2' 'member remove 10000000000000000' 'member remove 12345' 'member update' 'member update 1' \
  'member update zz --peer-urls=http://127.0.0.1:1' 'member promote' 'member promote zz' 'member add a --bogus' 'move-leader' \
  'move-leader zz' 'move-leader 1 2'; do bad $args; done
for url in 127.0.0.1:1 :a 'http://a b:1' http://a:1x http://::1:1 'http://[::1:1' 'http://[::1]' http:// http: http:a:1 http:/a \
  http://%zz:1 http://%41:1 http://a:1/ http://a:1/b 1http://a:1 a_b://x ftp://a:1 x /x //a:1 'http://u<@a:1' '?x' %zz '*' \
  http://127.0.0.1:1,ftp://a 'http://a\\b:1' $'http://a\x01:1' ' '; do bad member add a --peer-urls="$url"; done
bad member update 1 --peer-urls=ftp://a:1
}

# Commands that need several members. What one tool changed is changed back before the other's turn. {new} is a URL
# that nobody has and none had: etcd derives a member's id from its URLs and the second, and lets none come back.
new_ports=0
new_url() { new_ports=$((new_ports + 1)); new=http://127.0.0.1:$new_ports; }
each_tool() {
  local filter=$1 tool side new; shift
  for tool in "$reference" "$candidate"; do
    side=$([ "$tool" = "$reference" ] && echo a || echo b)
    new_url
    run "$tool" "$side" "$filter" '' "${all[@]}" "${@//\{new\}/$new}"
    restore
  done
  judge "$*"
}
leader() { "$reference" "${all[@]}" endpoint status | awk -F', ' -v want="$1" '$9 == want { print $'"$2"'; exit }'; }
# The id of the member that has not been started, if there is one.
unstarted() { "$reference" "${all[@]}" member list | awk -F', ' '$2 == "unstarted" { print $1 }'; }
forget_unstarted() { local id; for id in $(unstarted); do "$reference" "${all[@]}" member remove "$id" >/dev/null; done; }
several_endpoints() {
  local all=(--endpoints "$endpoints") new w id
  restore() { forget_unstarted; }
  # A member that has heard of all others for five seconds lets the cluster change.
  local waited
  for waited in $(seq 180); do
    "$reference" "${all[@]}" member add probe --learner --peer-urls=http://127.0.0.1:899 >/dev/null 2>&1 && break
    sleep 1
  done
  forget_unstarted
  local AGAIN=1
  both clean '' "${at[@]}" member list -w protobuf
  for w in simple json fields table; do
    both masked '' "${all[@]}" member list -w $w; both framed '' "${all[@]}" endpoint status -w $w
    both clean '' "${all[@]}" endpoint hashkv -w $w; both framed '' --endpoints "$endpoint" endpoint status --cluster -w $w
    both clean '' --endpoints "$endpoint" endpoint hashkv --cluster -w $w
    for one in "${each_endpoint[@]}"; do both framed '' --endpoints "$one" endpoint health -w $w; done
  done
  both clean '' "${at[@]}" member list --hex -w json; both clean '' "${all[@]}" member list --consistency s
  for w in simple json fields table; do each_tool anonymous member add new --peer-urls={new} -w $w; done
  each_tool anonymous member add new --learner --peer-urls={new}; each_tool anonymous member add 'n"\w' --peer-urls={new},http://127.0.0.1:900
  each_tool anonymous member add new --learner --peer-urls={new} --hex -w json
  # Refusals of the cluster.
  taken=$("$reference" "${all[@]}" member list | awk -F', ' 'NR == 1 { print $4 }')
  each_tool clean member add new --peer-urls="$taken"; each_tool clean member update 1 --peer-urls={new}
  each_tool clean member promote 1; each_tool clean member promote "$(leader true 2)"; each_tool clean member remove 1
  new_url; "$reference" "${all[@]}" member add learner --learner --peer-urls=$new >/dev/null
  restore() { :; }
  each_tool clean member add another --learner --peer-urls={new}; each_tool clean member promote "$(unstarted)"
  each_tool anonymous member update "$(unstarted)" --peer-urls={new}
  each_tool anonymous member update "$(unstarted)" --peer-urls={new} -w json
  each_tool clean member update "$(unstarted)" --peer-urls="$taken"
  both anonymous '' "${all[@]}" member list
  each_tool clean move-leader "$(unstarted)"
  forget_unstarted
  for w in simple json fields table; do
    for tool in "$reference" "$candidate"; do
      side=$([ "$tool" = "$reference" ] && echo a || echo b)
      new_url; "$reference" "${all[@]}" member add new --peer-urls=$new >/dev/null; id=$(unstarted)
      run "$tool" "$side" anonymous '' "${all[@]}" member remove "$id" -w $w
    done; judge "member remove -w $w"
  done
  # The leader.
  for w in simple json fields table; do
    local from to; from=$(leader true 2) to=$(leader false 2)
    restore() { "$reference" "${all[@]}" move-leader "$from" >/dev/null; }
    each_tool clean move-leader "$to" -w $w
  done
  restore() { :; }
  both clean '' "${all[@]}" move-leader "$(leader true 2)"; both clean '' "${all[@]}" move-leader 1
  both clean '' --endpoints "$(leader false 1)" move-leader "$(leader true 2)"
  both clean '' --endpoints "$(leader false 1),127.0.0.1:1" --command-timeout=300ms move-leader "$(leader true 2)"
  # One endpoint is away: reads and writes go on.
  both clean '' --endpoints "127.0.0.1:1,$endpoints" put away 1; both clean '' --endpoints "127.0.0.1:1,$endpoints" get away
  both clean '' --endpoints "127.0.0.1:1,$endpoint" --command-timeout=1s endpoint status -w fields | grep -v Index
  both clean '' --endpoints "127.0.0.1:1,$endpoints" member list
}

[ "${ONLY:-}" = cluster ] || one_endpoint
[ "$endpoint" = "$endpoints" ] || several_endpoints

echo "$total compared, $different different, $passing that differed at first"
[ "$different" -eq 0 ]
