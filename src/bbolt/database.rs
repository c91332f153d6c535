//! A file with its buckets.

use bytes::{Buf, Bytes};

use super::page::BUCKET_BYTES;
use super::pages::{Pages, Root, Source, What};
use super::seen::Seen;
use super::walk::Walk;
use crate::base::{Wrong, limits};

/// A file that was opened; see the room's head.
#[derive(Debug)]
pub struct Database<S> {
    pages: Pages<S>,
    buckets: Vec<(Bytes, Root)>,
}

impl<S: Source> Database<S> {
    /// Opens a file; `name` is what errors call it.
    pub fn open(source: S, name: &str) -> Result<Self, Wrong> {
        let (pages, root) = Pages::open(source, name)?;
        let mut database = Self { pages, buckets: Vec::new() };
        database.buckets = database.find_buckets(root)?;
        Ok(database)
    }

    /// Bytes of the database; the file may have more.
    pub fn bytes(&self) -> u64 {
        self.pages.bytes()
    }

    /// The buckets, in order of name.
    pub fn buckets(&self) -> impl Iterator<Item = &Bytes> {
        self.buckets.iter().map(|(name, _)| name)
    }

    /// No page seen yet.
    pub fn unseen(&self) -> Seen {
        self.pages.unseen()
    }

    /// Holds both meta pages to what they must say of themselves. The older one is not needed to read the file.
    pub fn check_metas(&self) -> Result<(), Wrong> {
        (0..2).try_for_each(|id| self.pages.check_meta(id))
    }

    /// The entries of a bucket in order; none of one that is not there. No page of it may be in `seen`.
    pub fn walk<'a>(&'a self, bucket: &[u8], seen: &'a mut Seen) -> Walk<'a, S> {
        let root = self.buckets.iter().find(|(name, _)| name[..] == *bucket).map(|(_, root)| root.clone());
        Walk::new(&self.pages, root, seen)
    }

    fn find_buckets(&self, root: u64) -> Result<Vec<(Bytes, Root)>, Wrong> {
        let mut seen = self.pages.unseen();
        let mut walk = Walk::new(&self.pages, Some(Root::Page(root)), &mut seen);
        let mut buckets = Vec::new();
        while let Some((name, what)) = walk.next_element()? {
            let at = walk.place();
            let What::Bucket(mut head) = what else {
                return Err(self.pages.damaged(at, format!("{name:?} is no bucket, and stands among them")));
            };
            if buckets.len() == limits::MAX_BBOLT_BUCKETS {
                return Err(self.pages.damaged(at, "it has more buckets than any database of etcd"));
            }
            if head.len() < BUCKET_BYTES {
                return Err(self.pages.damaged(at, format!("the head of bucket {name:?} is cut short")));
            }
            let (page, _sequence) = (head.get_u64_le(), head.get_u64_le());
            buckets.push((name, if page == 0 { Root::Inline(head, at) } else { Root::Page(page) }));
        }
        Ok(buckets)
    }
}
