//! Ends of ranges, as the wire writes them.

use bytes::Bytes;

/// The end that means "no end".
pub const OPEN_END: Bytes = Bytes::from_static(b"\0");

/// The first key after all that begin with `prefix`; [`OPEN_END`] where there is none.
pub fn prefix_end(prefix: &[u8]) -> Bytes {
    match prefix.iter().rposition(|&byte| byte < 0xff) {
        Some(last) => {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            end.into()
        }
        None => OPEN_END,
    }
}

/// A range of all keys that begin with `prefix`, as key and end. The empty one begins with the first key there can be, for no request
/// takes an empty key.
pub fn under_prefix(prefix: &[u8]) -> (Bytes, Bytes) {
    let key = if prefix.is_empty() { OPEN_END } else { Bytes::copy_from_slice(prefix) };
    (key, prefix_end(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_prefixes() {
        assert_eq!(prefix_end(b"a"), &b"b"[..]);
        assert_eq!(prefix_end(b"a\xff\xff"), &b"b"[..]);
        assert_eq!(prefix_end(b"\xff"), &b"\0"[..]);
        assert_eq!(prefix_end(b""), &b"\0"[..]);
        assert_eq!(under_prefix(b"a"), (Bytes::from("a"), Bytes::from("b")));
        assert_eq!(under_prefix(b""), (Bytes::from("\0"), Bytes::from("\0")), "all there are");
    }
}
