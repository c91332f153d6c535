//! A file as it is found: its newest state, its buckets, and pages that are checked before anything in them is used.

use bytes::{Buf, Bytes};

use super::page::{BRANCH, BUCKET_BYTES, ELEMENT_BYTES, HEAD_BYTES, Head, IS_BUCKET, LEAF, META, META_BYTES, Meta};
use super::seen::Seen;
use super::walk::Walk;
use crate::base::{Fault, Wrong, limits};

/// Where the bytes of a file come from.
pub trait Source {
    /// Bytes there are.
    fn bytes(&self) -> Result<u64, Fault>;

    /// Fills `bytes` from `offset` on, as far as there are any; says how many.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<usize, Fault>;
}

/// Where a bucket's tree begins.
#[derive(Clone, Debug)]
pub(super) enum Root {
    Page(u64),
    /// Within the bucket's head, because it is small.
    Inline(Bytes),
}

/// A file that was opened; see the module's head.
#[derive(Debug)]
pub struct Database<S> {
    source: S,
    name: String,
    page_bytes: u64,
    pages: u64,
    buckets: Vec<(Bytes, Root)>,
}

/// A page that was read: its elements lie where it says.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) is_leaf: bool,
    pub(super) elements: Vec<Element>,
}

/// An element of a page.
#[derive(Clone, Debug)]
pub(super) struct Element {
    pub(super) key: Bytes,
    pub(super) what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Child(u64),
    Value(Bytes),
    Bucket(Bytes),
}

impl<S: Source> Database<S> {
    /// Opens a file; `name` is what errors call it.
    pub fn open(source: S, name: &str) -> Result<Self, Wrong> {
        let len = source.bytes()?;
        let meta = newest_meta(&source, len)?.map_err(|what| Wrong::corrupt(name, 0, what))?;
        let mut database = Self {
            source,
            name: name.to_string(),
            page_bytes: u64::from(meta.page_bytes),
            pages: meta.pages,
            buckets: Vec::new(),
        };
        if meta.pages.checked_mul(database.page_bytes).is_none_or(|needed| needed > len) {
            let what = format!("it ends after {len} bytes, but has {} pages of {}", meta.pages, meta.page_bytes);
            return Err(Wrong::corrupt(name, len, what));
        }
        database.buckets = database.find_buckets(meta.root)?;
        Ok(database)
    }

    /// Bytes of the database; the file may have more.
    pub fn bytes(&self) -> u64 {
        self.pages * self.page_bytes
    }

    /// The buckets, in order of name.
    pub fn buckets(&self) -> impl Iterator<Item = &Bytes> {
        self.buckets.iter().map(|(name, _)| name)
    }

    /// No page seen yet.
    pub fn unseen(&self) -> Seen {
        Seen::of(self.pages)
    }

    /// The entries of a bucket in order; none of one that is not there. No page of it may be in `seen`.
    pub fn walk<'a>(&'a self, bucket: &[u8], seen: &'a mut Seen) -> Walk<'a, S> {
        let root = self.buckets.iter().find(|(name, _)| name[..] == *bucket).map(|(_, root)| root.clone());
        Walk::new(self, root, seen)
    }

    pub(super) fn damaged(&self, page: u64, what: impl Into<String>) -> Wrong {
        Wrong::corrupt(self.name.clone(), page.saturating_mul(self.page_bytes), what)
    }

    fn find_buckets(&self, root: u64) -> Result<Vec<(Bytes, Root)>, Wrong> {
        let mut seen = self.unseen();
        let mut walk = Walk::new(self, Some(Root::Page(root)), &mut seen);
        let mut buckets = Vec::new();
        while let Some((name, what)) = walk.next_element()? {
            let What::Bucket(mut head) = what else {
                return Err(self.damaged(root, format!("{name:?} is no bucket, and stands among them")));
            };
            if buckets.len() == limits::MAX_BBOLT_BUCKETS {
                return Err(self.damaged(root, "it has more buckets than any database of etcd"));
            }
            if head.len() < BUCKET_BYTES {
                return Err(self.damaged(root, format!("the head of bucket {name:?} is cut short")));
            }
            let (page, _sequence) = (head.get_u64_le(), head.get_u64_le());
            buckets.push((name, if page == 0 { Root::Inline(head) } else { Root::Page(page) }));
        }
        Ok(buckets)
    }

    /// Page `id` with those that belong to it. None of them may have been seen before.
    pub(super) fn page(&self, id: u64, seen: &mut Seen) -> Result<Page, Wrong> {
        if id < 2 || id >= self.pages {
            return Err(self.damaged(id.min(self.pages), format!("page {id} of {} is referred to", self.pages)));
        }
        let mut bytes = vec![0; self.page_bytes as usize];
        self.fill(id, 0, &mut bytes)?;
        let head = Head::decode(&bytes);
        if head.id != id {
            return Err(self.damaged(id, format!("page {id} says it is page {}", head.id)));
        }
        let behind = u64::from(head.overflow);
        let run = (behind + 1) * self.page_bytes;
        if id + behind >= self.pages || run > limits::MAX_BBOLT_RUN_BYTES {
            return Err(self.damaged(id, format!("page {id} goes on over {behind} pages")));
        }
        if !(id..=id + behind).all(|page| seen.note(page)) {
            return Err(self.damaged(id, format!("page {id} belongs to two places of the tree")));
        }
        if behind > 0 {
            bytes.resize(run as usize, 0);
            self.fill(id, self.page_bytes as usize, &mut bytes)?;
        }
        read_page(&Bytes::from(bytes)).map_err(|what| self.damaged(id, format!("page {id}: {what}")))
    }

    /// Reads what of a run lies behind its first `from` bytes.
    fn fill(&self, id: u64, from: usize, run: &mut [u8]) -> Result<(), Wrong> {
        let wanted = run.len() - from;
        if self.source.read_at(id * self.page_bytes + from as u64, &mut run[from..])? < wanted {
            return Err(self.damaged(id, "the file ends inside a page"));
        }
        Ok(())
    }
}

/// The newest of the two meta pages that holds. The second lies a page behind the first, which says how long pages are; where
/// it does not hold, every length is tried.
fn newest_meta<S: Source>(source: &S, len: u64) -> Result<Result<Meta, String>, Fault> {
    let read = |at: u64| -> Result<Result<Meta, String>, Fault> {
        let mut page = [0; HEAD_BYTES + META_BYTES];
        let got = source.read_at(at, &mut page)?;
        if got < page.len() {
            return Ok(Err(format!("it is no bbolt database: it ends after {len} bytes")));
        }
        Ok(Meta::decode(&page[HEAD_BYTES..]).and_then(|meta| {
            let is_meta = Head::decode(&page).flags == META;
            if is_meta { Ok(meta) } else { Err("its meta page is of another kind".to_string()) }
        }))
    };
    let first = read(0)?;
    let sizes: Vec<u64> = match &first {
        Ok(first) => vec![u64::from(first.page_bytes)],
        Err(_) => (10..=16).map(|shift| 1 << shift).collect(),
    };
    let mut newest = first;
    for at in sizes {
        if let Ok(second) = read(at)?
            && u64::from(second.page_bytes) == at
            && newest.as_ref().map_or(true, |first| second.transaction > first.transaction)
        {
            newest = Ok(second);
        }
    }
    Ok(newest)
}

/// The elements of a page and those that belong to it; the text says what does not hold.
pub(super) fn read_page(bytes: &Bytes) -> Result<Page, String> {
    if bytes.len() < HEAD_BYTES {
        return Err("it is cut short".to_string());
    }
    let head = Head::decode(bytes);
    let is_leaf = match head.flags {
        LEAF => true,
        BRANCH => false,
        other => return Err(format!("it is neither leaf nor branch, but {other:#x}")),
    };
    let mut elements = Vec::with_capacity(usize::from(head.count).min(bytes.len() / ELEMENT_BYTES));
    let behind = HEAD_BYTES + usize::from(head.count) * ELEMENT_BYTES;
    for number in 0..usize::from(head.count) {
        let at = HEAD_BYTES + number * ELEMENT_BYTES;
        let Some(mut element) = bytes.get(at..at + ELEMENT_BYTES) else {
            return Err(format!("it has {} elements, for which it is too short", head.count));
        };
        // Where it lies is counted from the element.
        let within = |place: u32, len: u32| {
            let from = at.saturating_add(place as usize);
            let to = from.saturating_add(len as usize);
            if from < behind || to > bytes.len() {
                return Err(format!("element {number} lies at {from} to {to}, which is not in it"));
            }
            Ok(bytes.slice(from..to))
        };
        elements.push(if is_leaf {
            let (flags, place) = (element.get_u32_le(), element.get_u32_le());
            let (key_bytes, value_bytes) = (element.get_u32_le(), element.get_u32_le());
            let key = within(place, key_bytes)?;
            let value = within(place.saturating_add(key_bytes), value_bytes)?;
            let what = if flags & IS_BUCKET != 0 { What::Bucket(value) } else { What::Value(value) };
            Element { key, what }
        } else {
            let (place, key_bytes) = (element.get_u32_le(), element.get_u32_le());
            Element { key: within(place, key_bytes)?, what: What::Child(element.get_u64_le()) }
        });
    }
    Ok(Page { is_leaf, elements })
}
