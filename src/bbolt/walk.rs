//! The entries of one bucket, in order.
//!
//! Invariants: keys ascend strictly, over pages too, and lie within what the branches above say; no page is read twice; the
//! tree is no deeper than [`MAX_BBOLT_DEPTH`](crate::base::limits::MAX_BBOLT_DEPTH). So a walk ends, whatever the file says.

use bytes::Bytes;

use super::pages::{Element, Page, Pages, Root, Source, What, read_page};
use super::seen::Seen;
use crate::base::{Wrong, limits};

/// A walk over a bucket; see [`super::Database::walk`].
pub struct Walk<'a, S> {
    pages: &'a Pages<S>,
    seen: &'a mut Seen,
    /// Where it begins, before it has.
    root: Option<Root>,
    /// From the root down to the leaf.
    path: Vec<Level>,
    last_key: Bytes,
}

/// A page on the way.
struct Level {
    id: u64,
    elements: std::vec::IntoIter<Element>,
    /// Keys in it and below are less than this.
    below: Option<Bytes>,
}

impl<'a, S: Source> Walk<'a, S> {
    pub(super) fn new(pages: &'a Pages<S>, root: Option<Root>, seen: &'a mut Seen) -> Self {
        Self { pages, seen, root, path: Vec::new(), last_key: Bytes::new() }
    }

    /// The next entry; `None` at the end.
    pub fn next_entry(&mut self) -> Result<Option<(Bytes, Bytes)>, Wrong> {
        match self.next_element()? {
            None => Ok(None),
            Some((key, What::Value(value))) => Ok(Some((key, value))),
            Some((key, _)) => Err(self.damaged(format!("{key:?} is a bucket within a bucket, which etcd has none of"))),
        }
    }

    /// What is wrong with the entry that came last, told with its place.
    pub fn damaged(&self, what: impl Into<String>) -> Wrong {
        self.pages.damaged(self.place(), what)
    }

    /// The page of the entry that came last.
    pub(super) fn place(&self) -> u64 {
        self.path.last().map_or(0, |level| level.id)
    }

    /// As [`Self::next_entry`], buckets too.
    pub(super) fn next_element(&mut self) -> Result<Option<(Bytes, What)>, Wrong> {
        match self.root.take() {
            Some(Root::Page(id)) => {
                let page = self.pages.page(id, self.seen)?;
                self.enter(id, page, None)?;
            }
            Some(Root::Inline(bytes, at)) => {
                let page = read_page(&bytes)
                    .map_err(|what| self.pages.damaged(at, format!("page {at}: a small bucket: {what}")))?;
                if !page.is_leaf {
                    return Err(self.pages.damaged(at, format!("page {at}: a small bucket has branches")));
                }
                self.enter(at, page, None)?;
            }
            None => {}
        }
        while let Some(level) = self.path.last_mut() {
            let Some(element) = level.elements.next() else {
                self.path.pop();
                continue;
            };
            let id = level.id;
            let What::Child(child) = element.what else {
                let is_within = level.below.as_ref().is_none_or(|below| element.key < *below);
                if element.key <= self.last_key || !is_within {
                    return Err(self.pages.damaged(id, format!("page {id}: its keys are out of order")));
                }
                self.last_key = element.key.clone();
                return Ok(Some((element.key, element.what)));
            };
            let next = level.elements.as_slice().first().map(|next| next.key.clone());
            let below = next.or_else(|| level.below.clone());
            if element.key < self.last_key || below.as_ref().is_some_and(|below| element.key >= *below) {
                return Err(self.pages.damaged(id, format!("page {id}: its branches are out of order")));
            }
            let page = self.pages.page(child, self.seen)?;
            if page.elements.first().is_none_or(|first| first.key < element.key) {
                let what = format!("page {child}: it begins with another key than the branch above says");
                return Err(self.pages.damaged(child, what));
            }
            self.enter(child, page, below)?;
        }
        Ok(None)
    }

    fn enter(&mut self, id: u64, page: Page, below: Option<Bytes>) -> Result<(), Wrong> {
        if self.path.len() == limits::MAX_BBOLT_DEPTH {
            return Err(self.pages.damaged(id, "its tree is deeper than any can be"));
        }
        if page.elements.iter().any(|element| element.key.is_empty()) {
            return Err(self.pages.damaged(id, format!("page {id}: a key is empty")));
        }
        self.path.push(Level { id, elements: page.elements.into_iter(), below });
        Ok(())
    }
}
