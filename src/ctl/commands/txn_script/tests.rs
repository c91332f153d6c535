//! Scripts and the texts the stock tool gives for them.

use proptest::prelude::*;

use super::*;

fn op(line: &[u8]) -> Result<Op, Failure> {
    Requests::new().read(line)
}

fn text_of<T: std::fmt::Debug>(result: Result<T, Failure>) -> (Exit, String) {
    let failure = result.expect_err("a refusal");
    (failure.exit, failure.text)
}

#[test]
fn every_target_and_operator() {
    let read = |line: &str| {
        let compare = compare(line.as_bytes()).expect(line);
        (compare.target, compare.result, compare.key, compare.target_union.expect("a value"))
    };
    assert_eq!(read(r#"mod("a") > "0""#), (2, 1, "a".into(), TargetUnion::ModRevision(0)));
    assert_eq!(read(r#"c("a") < "-7""#), (1, 2, "a".into(), TargetUnion::CreateRevision(-7)));
    assert_eq!(read(r#"ver( "a b")  !=  "3" tail"#), (0, 3, "a b".into(), TargetUnion::Version(3)));
    assert_eq!(read(r#"val("\x00") = "x\"y""#), (3, 0, "\0".into(), TargetUnion::Value("x\"y".into())));
    assert_eq!(read("value(`k`) = `v`"), (3, 0, "k".into(), TargetUnion::Value("v".into())));
    assert_eq!(read(r#"lease("a") = "1f""#), (4, 0, "a".into(), TargetUnion::Lease(0x1f)));
}

#[test]
fn malformed_comparisons_as_recorded() {
    for (line, text) in [
        (r#"mod("a")= "0""#, r#"malformed comparison: mod("a")= "0"; got mod("a")  """#),
        (r#"mod("a) > "0""#, r#"malformed comparison: mod("a) > "0"; got mod("a) > ")  """#),
        (r#"mod(a) > "0""#, r#"malformed comparison: mod(a) > "0"; got mod("")  """#),
        (r#"modx("a") > "0""#, r#"malformed comparison: modx("a") > "0" (unknown target modx)"#),
        (r#"mod("a") > "x""#, r#"invalid txn compare request: mod("a") > "x""#),
        (r#"mod "a" > "0""#, r#"malformed comparison: mod "a" > "0""#),
    ] {
        assert_eq!(text_of(compare(line.as_bytes())), (Exit::InvalidInput, text.to_owned()));
    }
}

#[test]
fn requests_and_their_refusals_as_recorded() {
    match op(br#"put b "x y" --prev-kv --lease=1f"#).expect("a put") {
        Op::Put(put) => {
            assert_eq!((&put.key[..], &put.value[..], put.lease, put.prev_kv), (&b"b"[..], &b"x y"[..], 0x1f, true));
        }
        other => panic!("{other:?}"),
    }
    match op(br#"put b "unterminated v"#).expect("a put") {
        Op::Put(put) => assert_eq!(&put.value[..], b"unterminated"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(op(b"get a --prefix").expect("a get"), Op::Get(get) if &get.range_end[..] == b"b"));
    // By its beginning, and behind its flags, as any command.
    assert!(matches!(op(b"g a --prefix").expect("a get"), Op::Get(get) if &get.range_end[..] == b"b"));
    assert!(matches!(op(b"--limit 3 get a").expect("a get"), Op::Get(get) if get.limit == 3));
    let usage = op(b"get b --bogus").expect_err("a flag").usage.expect("is told");
    assert!(usage.starts_with("Usage:\n   get [options] <key> [range_end] [flags]\n"), "{usage}");
    assert!(matches!(op(b"del a z --range").expect("a del"), Op::Del(del) if del.warning().is_none()));
    for (line, exit, text) in [
        ("put b", Exit::BadArgs, "put command needs 1 argument and input from stdin or 2 arguments"),
        ("foo b", Exit::InvalidInput, "invalid txn request: foo b"),
        ("get b --bogus", Exit::InvalidInput, "invalid txn request: get b --bogus"),
        ("get", Exit::InvalidInput, "invalid txn compare request: get"),
        (r#"put b "a\z""#, Exit::InvalidInput, "invalid syntax"),
    ] {
        assert_eq!(text_of(op(line.as_bytes())), (exit, text.to_owned()));
    }
}

#[test]
fn words_as_the_stock_tool_splits_them() {
    let split = |line: &str| -> Vec<String> {
        let words = words(line.as_bytes()).expect("words");
        words.into_iter().map(|word| word.to_string_lossy().into_owned()).collect()
    };
    assert_eq!(split(r#"put  k "a \"b\" c" 'd "e' f"g h"#), ["put", "k", "a \"b\" c", "d \"e", "f\"g", "h"]);
    assert_eq!(split("a ''"), ["a", ""]);
    assert_eq!(split("a 'b c"), ["a", "b", "c"]);
    assert_eq!(split("watch a -- echo"), ["watch", "a", "--", "echo"]);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(line in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = compare(&line);
        let _ = op(&line);
    }

    #[test]
    fn what_is_quoted_comes_back(key in proptest::collection::vec(any::<u8>(), 0..32), value in ".*") {
        let line = format!("val({}) = {}", go::quote(&key), go::quote(value.as_bytes()));
        let compare = compare(line.as_bytes()).expect("well formed");
        prop_assert_eq!(&compare.key[..], &key[..]);
        prop_assert_eq!(compare.target_union, Some(TargetUnion::Value(value.into())));
    }
}
