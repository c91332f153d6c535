//! Which pages of a file were read: none belongs to two places of the tree.

/// A bit for each page.
#[derive(Debug)]
pub struct Seen(Vec<u64>);

impl Seen {
    pub(super) fn of(pages: u64) -> Self {
        // Files are held against their length before: a bit a page is a small part of it.
        Self(vec![0; usize::try_from(pages.div_ceil(64)).unwrap_or(usize::MAX)])
    }

    /// Notes a page; false where it was noted before.
    pub(super) fn note(&mut self, page: u64) -> bool {
        let (word, bit) = ((page / 64) as usize, 1 << (page % 64));
        let is_new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        is_new
    }
}
