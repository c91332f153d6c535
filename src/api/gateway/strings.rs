//! Strings of a message in JSON, as Go's library for protobuf takes them: text, and halves of characters in pairs alone.
//!
//! Invariant: what is refused here is refused by Go's library, also where nobody would look at it. Does not know what strings say.

use crate::base::go_quoted;

/// Bytes of an escaped character.
const ESCAPE_BYTES: usize = 6;

/// Looks through the strings of a message.
///
/// # Errors
/// One is no text, in the words of Go's library.
pub fn check_strings(json: &[u8]) -> Result<(), String> {
    let mut at = 0;
    while let Some(begin) = json[at..].iter().position(|byte| *byte == b'"') {
        at = end_of(json, at + begin)?;
    }
    Ok(())
}

/// Where the string that begins there ends.
fn end_of(json: &[u8], begin: usize) -> Result<usize, String> {
    let wrong = |what: &str| {
        let before = String::from_utf8_lossy(&json[..begin]);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        format!("proto: syntax error (line {line}:{column}): {what}")
    };
    let mut at = begin + 1;
    while let Some(plain) = json[at..].iter().position(|byte| matches!(byte, b'"' | b'\\')) {
        if std::str::from_utf8(&json[at..at + plain]).is_err() {
            return Err(wrong("invalid UTF-8 in string"));
        }
        at += plain;
        if json[at] == b'"' {
            return Ok(at + 1);
        }
        at = match half(&json[at..]) {
            None => (at + 2).min(json.len()),
            Some(first) => {
                let pair = json.get(at + ESCAPE_BYTES..at + 2 * ESCAPE_BYTES).ok_or("proto: unexpected EOF")?;
                let is_one = half(pair).is_some_and(|second| first < 0xdc00 && second >= 0xdc00);
                if !is_one {
                    let pair = go_quoted(pair);
                    return Err(wrong(&format!("invalid escape code {pair} in string")));
                }
                at + 2 * ESCAPE_BYTES
            }
        };
    }
    // What has no end is told by who reads it.
    Ok(json.len())
}

/// The half of a character that is escaped here.
fn half(bytes: &[u8]) -> Option<u16> {
    let digits = std::str::from_utf8(bytes.strip_prefix(br"\u")?.get(..4)?).ok()?;
    let number = u16::from_str_radix(digits, 16).ok()?;
    (0xd800..0xe000).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As stock etcd 3.7.1 answered.
    #[test]
    fn what_is_no_text_is_refused_wherever_it_stands() {
        let at = |column: usize, what: &str| Err(format!("proto: syntax error (line 1:{column}): {what}"));
        let no_text = "invalid UTF-8 in string";
        let table: [(&[u8], _); 12] = [
            (b"{\"key\":\"eA==\",\"zz\":\"\xff\"}", at(20, no_text)),
            (b"{\"zz\xff\":1,\"key\":\"eA==\"}", at(2, no_text)),
            (b"{\"key\":\"eA==\",\"zz\":{\"a\":[\"\xc3\x28\"]}}", at(26, no_text)),
            (b"{\"key\":\"eA==\",\"zz\":\"\xc0\x80\"}", at(20, no_text)),
            (b"{\"key\":\"eA==\",\"zz\":\"\xed\xa0\x80\"}", at(20, no_text)),
            (b"{\"TTL\":5,\"\xff\":\"\xff\"}", at(10, no_text)),
            (br#"{"key":"eA==","zz":"\ud800"}"#, Err("proto: unexpected EOF".into())),
            (br#"{"key":"eA==","zz":"\udc00\ud800"}"#, at(20, r#"invalid escape code "\\ud800" in string"#)),
            (br#"{"key":"eA==","zz":"\ud83d\ude00 \u00e9 \\ud800 \" \n"}"#, Ok(())),
            ("{\"\u{e9}\":\"\u{1f600}\",\n\"a\":[\"\"]}".as_bytes(), Ok(())),
            (b"\"\\", Ok(())),
            (b"{\"a", Ok(())),
        ];
        for (json, expected) in table {
            assert_eq!(check_strings(json), expected, "{}", String::from_utf8_lossy(json));
        }
        let lines = b"{\"\xc3\xa9\":1,\n \"\xc3\xa9\": \"\xff\"}";
        assert_eq!(check_strings(lines), Err(format!("proto: syntax error (line 2:7): {no_text}")));
    }
}
