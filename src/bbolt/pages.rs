//! A file as it is found: its newest state, and pages that are checked before anything in them is used.

use bytes::{Buf, Bytes};

use super::page::{BRANCH, ELEMENT_BYTES, HEAD_BYTES, Head, IS_BUCKET, LEAF, META, META_BYTES, Meta};
use super::seen::Seen;
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
    /// Within the bucket's head, because it is small; and the page where that lies.
    Inline(Bytes, u64),
}

/// The pages of a file that was opened.
#[derive(Debug)]
pub(super) struct Pages<S> {
    source: S,
    name: String,
    page_bytes: u64,
    pages: u64,
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

impl<S: Source> Pages<S> {
    /// Opens a file, which errors call `name`; also says at which page its tree begins.
    pub(super) fn open(source: S, name: &str) -> Result<(Self, u64), Wrong> {
        let len = source.bytes()?;
        let meta = newest_meta(&source, len)?.map_err(|what| Wrong::corrupt(name, 0, what))?;
        let pages = Self { source, name: name.to_string(), page_bytes: u64::from(meta.page_bytes), pages: meta.pages };
        if meta.pages.checked_mul(pages.page_bytes).is_none_or(|needed| needed > len) {
            let what = format!("it ends after {len} bytes, but has {} pages of {}", meta.pages, meta.page_bytes);
            return Err(Wrong::corrupt(name, len, what));
        }
        Ok((pages, meta.root))
    }

    /// Bytes of the database; the file may have more.
    pub(super) fn bytes(&self) -> u64 {
        self.pages * self.page_bytes
    }

    /// No page seen yet.
    pub(super) fn unseen(&self) -> Seen {
        Seen::of(self.pages)
    }

    pub(super) fn damaged(&self, page: u64, what: impl Into<String>) -> Wrong {
        Wrong::corrupt(self.name.clone(), page.saturating_mul(self.page_bytes), what)
    }

    /// Whether page `id` says that it is a meta page, and which.
    pub(super) fn check_meta(&self, id: u64) -> Result<(), Wrong> {
        let mut head = [0; HEAD_BYTES];
        self.fill(id, 0, &mut head)?;
        match Head::decode(&head) {
            head if head.id != id => Err(self.damaged(id, format!("page {id} says it is page {}", head.id))),
            head if head.flags != META => {
                Err(self.damaged(id, format!("page {id}: it is no meta page, but {:#x}", head.flags)))
            }
            _ => Ok(()),
        }
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
    if !is_leaf && head.count == 0 {
        return Err("it is a branch that leads nowhere".to_string());
    }
    let mut elements = Vec::with_capacity(usize::from(head.count).min(bytes.len() / ELEMENT_BYTES));
    let behind = HEAD_BYTES + usize::from(head.count) * ELEMENT_BYTES;
    // They lie beside each other: many that share their bytes would make much of a small file.
    let mut room = bytes.len().saturating_sub(behind);
    for number in 0..usize::from(head.count) {
        let at = HEAD_BYTES + number * ELEMENT_BYTES;
        let Some(mut element) = bytes.get(at..at + ELEMENT_BYTES) else {
            return Err(format!("it has {} elements, for which it is too short", head.count));
        };
        // Where it lies is counted from the element.
        let mut within = |place: u32, len: u32| {
            let from = at.saturating_add(place as usize);
            let to = from.saturating_add(len as usize);
            if from < behind || to > bytes.len() {
                return Err(format!("element {number} lies at {from} to {to}, which is not in it"));
            }
            room = room.checked_sub(len as usize).ok_or("its elements are longer than it is")?;
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
