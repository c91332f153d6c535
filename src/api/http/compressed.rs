//! Pages that are compressed for who takes that, as etcd's library does with metrics.
//!
//! Invariants: who serves others never compresses: it is done on a thread that may wait, few at once, and beyond that a page
//! leaves as it is, which everybody takes. Does not know what the page says.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{self, HeaderMap};
use tokio::sync::Semaphore;

use crate::base::limits;

static PLACES: Semaphore = Semaphore::const_new(limits::PAGES_COMPRESSED);

/// A page, and whether it was compressed by gzip.
pub async fn for_who_takes_it(fields: &HeaderMap, page: Bytes) -> (Bytes, bool) {
    if !takes_gzip(fields) {
        return (page, false);
    }
    let Ok(place) = PLACES.try_acquire() else { return (page, false) };
    let whole = page.clone();
    let working = tokio::task::spawn_blocking(move || {
        // Held by the work, whoever still waits for it.
        let _place = place;
        gzip(&whole)
    });
    match working.await {
        Ok(Some(short)) => (short, true),
        _ => (page, false),
    }
}

fn gzip(page: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(page.len() / 8), Compression::default());
    encoder.write_all(page).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

/// Whether gzip is liked better than a page as it is, which wins where both are liked alike; what is not named is liked
/// less than anything that is.
fn takes_gzip(fields: &HeaderMap) -> bool {
    let wishes: Vec<(&[u8], f64)> =
        fields.get_all(header::ACCEPT_ENCODING).iter().flat_map(|field| wishes(field.as_bytes())).collect();
    let liked = |coding: &[u8]| {
        let weights = wishes.iter().filter(|(name, _)| *name == b"*" || *name == coding).map(|(_, weight)| *weight);
        weights.fold(-1.0, f64::max)
    };
    liked(b"gzip") > liked(b"identity").max(0.0)
}

/// The codings of one field with their weights; what comes after the first that is misspelled is not read, as by etcd's library.
fn wishes(field: &[u8]) -> Vec<(&[u8], f64)> {
    let mut found = Vec::new();
    let mut rest = field;
    loop {
        let is_word = |byte: &&u8| byte.is_ascii_graphic() && !b"\"(),:;<=>?@[\\]{}".contains(byte);
        let (name, behind) = rest.split_at(rest.iter().take_while(is_word).count());
        if name.is_empty() {
            return found;
        }
        let mut weight = 1.0;
        rest = behind.trim_ascii_start();
        if let Some(parameter) = rest.strip_prefix(b";") {
            let Some(told) = parameter.trim_ascii_start().strip_prefix(b"q=").and_then(weight_of) else { return found };
            (weight, rest) = told;
        }
        found.push((name, weight));
        match rest.trim_ascii_start().strip_prefix(b",") {
            Some(next) => rest = next.trim_ascii_start(),
            None => return found,
        }
    }
}

/// A weight, which begins with 0 or 1, and what stands behind it.
fn weight_of(text: &[u8]) -> Option<(f64, &[u8])> {
    let (first, rest) = text.split_first()?;
    let whole = match first {
        b'0' => 0.0,
        b'1' => 1.0,
        _ => return None,
    };
    let Some(rest) = rest.strip_prefix(b".") else { return Some((whole, rest)) };
    let (digits, rest) = rest.split_at(rest.iter().take_while(|byte| byte.is_ascii_digit()).count());
    let (mut weight, mut worth) = (whole, 0.1);
    for digit in digits {
        weight += f64::from(digit - b'0') * worth;
        worth /= 10.0;
    }
    Some((weight, rest))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use http::HeaderValue;

    use super::*;

    fn fields(texts: &[&'static str]) -> HeaderMap {
        texts.iter().map(|text| (header::ACCEPT_ENCODING, HeaderValue::from_static(text))).collect()
    }

    /// Each was asked of stock etcd 3.7.1.
    #[test]
    fn gzip_is_taken_as_by_etcds_library() {
        for texts in [
            &["gzip"][..],
            &["gzip;q=0.5, identity;q=0.4"],
            &["zstd, gzip"],
            &["gzip ; q=0.5"],
            &["br;q=1.0, gzip;q=0.8, *;q=0.1"],
            &["gzip;q=0.0001"],
            &["gzip;q=1;x"],
            &["deflate", "gzip"],
        ] {
            assert!(takes_gzip(&fields(texts)), "{texts:?}");
        }
        for text in [
            "gzip;q=0",
            "identity, gzip",
            "gzip, identity",
            "*",
            "deflate",
            "GZIP",
            "gzip;q=0.4, identity",
            "gzip;Q=1",
            "x-gzip",
            "*;q=0.5, gzip;q=0",
            "gzip;q=2",
            "gzip;q=abc",
            "",
            "gzip;level=1",
            "gzip;q=.5",
            "identity;q=0",
            "identity;q=0, gzip;q=0",
            ",gzip",
            "br gzip",
        ] {
            assert!(!takes_gzip(&fields(&[text])), "{text:?}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn beyond_a_few_at_once_a_page_leaves_as_it_is() {
        let page = Bytes::from("metric 1\n".repeat(10_000));
        let wish = fields(&["gzip"]);
        let (short, is_short) = for_who_takes_it(&wish, page.clone()).await;
        assert!(is_short && short.len() < page.len() / 10, "{}", short.len());
        let mut read = Vec::new();
        flate2::read::GzDecoder::new(&short[..]).read_to_end(&mut read).expect("gzip");
        assert_eq!(read, page);
        assert_eq!(for_who_takes_it(&HeaderMap::new(), page.clone()).await, (page.clone(), false));
        let all = u32::try_from(limits::PAGES_COMPRESSED).expect("a few");
        let _taken = PLACES.acquire_many(all).await.expect("never closed");
        assert_eq!(for_who_takes_it(&wish, page.clone()).await, (page, false));
    }
}
