//! Writing a file in one go, from entries in order.
//!
//! Invariants: every page leaves when it is full, its branches behind it, so a page of each level is in memory and no
//! more. The first pages must say where the tree begins and how long the file is: a first run over the same entries with a
//! [measuring](Writer::measure) writer, which is the same code without bytes, tells both. That the two runs saw the same
//! is asserted at the end.
//!
//! Pages are filled to the brim: what is added later comes at the end of the largest bucket, and nothing is inserted.
//! Which pages are free is not written down; there are none.

use bytes::{BufMut, Bytes, BytesMut};

use super::page::{BRANCH, ELEMENT_BYTES, HEAD_BYTES, Head, IS_BUCKET, LEAF, Meta, PAGE_BYTES};

/// What a file comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    pages: u64,
    root: u64,
}

impl Layout {
    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.pages * PAGE_BYTES as u64
    }
}

/// A file being written, or measured; see the module's head.
pub struct Writer {
    /// What is to be written next; nothing is kept where the file is only measured.
    out: Option<BytesMut>,
    measured: Option<Layout>,
    /// Number of the next page.
    next: u64,
    leaf: OpenPage,
    /// The branches above it, lowest first.
    branches: Vec<OpenPage>,
    last_key: Vec<u8>,
    /// The bucket that is open.
    name: Option<Bytes>,
    /// Those that are closed, with their root page; none where it is empty.
    buckets: Vec<(Bytes, Option<u64>)>,
}

/// A page that is not full.
#[derive(Default)]
struct OpenPage {
    count: usize,
    /// Bytes it takes.
    used: usize,
    first_key: Vec<u8>,
    /// The last page put into it, of a branch.
    last_child: u64,
    /// Its elements, with places counted from the start of `body`.
    elements: BytesMut,
    /// Keys and values.
    body: BytesMut,
}

impl OpenPage {
    fn takes(&self, key: usize, value: usize) -> bool {
        self.used.max(HEAD_BYTES) + ELEMENT_BYTES + key + value <= PAGE_BYTES
    }

    fn note(&mut self, key: &[u8], value: usize) {
        if self.count == 0 {
            self.used = HEAD_BYTES;
            self.first_key.clear();
            self.first_key.extend_from_slice(key);
        }
        self.count += 1;
        self.used += ELEMENT_BYTES + key.len() + value;
    }

    /// Where the next key goes, as an element says it before the page is closed.
    fn place(&self) -> u32 {
        u32::try_from(self.body.len()).expect("an entry is within a record's limit")
    }
}

impl Writer {
    /// A writer that only measures.
    pub fn measure() -> Self {
        Self {
            out: None,
            measured: None,
            next: 2,
            leaf: OpenPage::default(),
            branches: Vec::new(),
            last_key: Vec::new(),
            name: None,
            buckets: Vec::new(),
        }
    }

    /// A writer of the file that was measured.
    pub fn new(measured: Layout) -> Self {
        let mut out = BytesMut::new();
        for transaction in [2, 1] {
            let Layout { pages, root } = measured;
            Meta { page_bytes: PAGE_BYTES as u32, root, pages, transaction }.encode(&mut out);
        }
        Self { out: Some(out), measured: Some(measured), ..Self::measure() }
    }

    /// Begins a bucket; buckets come in order of name.
    pub fn begin(&mut self, name: &[u8]) {
        assert!(self.name.is_none(), "the bucket before is ended first");
        assert!(self.buckets.last().is_none_or(|(last, _)| last[..] < *name), "buckets come in order");
        self.name = Some(Bytes::copy_from_slice(name));
        self.last_key.clear();
    }

    /// Puts an entry into the open bucket; keys ascend. `fill` appends the value's bytes, `value_bytes` of them; it is
    /// not called where the file is only measured.
    pub fn put(&mut self, key: &[u8], value_bytes: usize, fill: impl FnOnce(&mut BytesMut)) {
        assert!(self.name.is_some(), "an entry belongs to a bucket");
        assert!(self.last_key[..] < *key, "keys ascend, and none is empty");
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        if self.leaf.count > 0 && !self.leaf.takes(key.len(), value_bytes) {
            self.close_leaf();
        }
        if self.out.is_some() {
            let leaf = &mut self.leaf;
            let place = leaf.place();
            put_leaf_element(&mut leaf.elements, 0, place, key.len(), value_bytes);
            leaf.body.put_slice(key);
            fill(&mut leaf.body);
            assert_eq!(leaf.body.len() - place as usize, key.len() + value_bytes, "a value is as long as was said");
        }
        self.leaf.note(key, value_bytes);
    }

    /// Ends the open bucket.
    pub fn end(&mut self) {
        if self.leaf.count > 0 {
            self.close_leaf();
        }
        let name = self.name.take().expect("a bucket was begun");
        let root = self.close_branches();
        self.buckets.push((name, root));
    }

    /// Ends the file.
    ///
    /// # Panics
    /// If it is not the one that was measured.
    pub fn finish(&mut self) -> Layout {
        assert!(self.name.is_none(), "every bucket is ended first");
        for (name, root) in std::mem::take(&mut self.buckets) {
            let mut head = BytesMut::new();
            head.put_u64_le(root.unwrap_or(0));
            head.put_u64_le(0);
            if root.is_none() {
                // An empty bucket is within its head: a leaf without elements.
                Head { id: 0, flags: LEAF, count: 0, overflow: 0 }.encode(&mut head);
            }
            let leaf = &mut self.leaf;
            let place = leaf.place();
            put_leaf_element(&mut leaf.elements, IS_BUCKET, place, name.len(), head.len());
            leaf.body.put_slice(&name);
            leaf.body.put_slice(&head);
            leaf.note(&name, head.len());
        }
        let mut leaf = std::mem::take(&mut self.leaf);
        let root = self.emit(&mut leaf, LEAF);
        let layout = Layout { pages: self.next, root };
        assert!(self.measured.is_none_or(|measured| measured == layout), "both runs saw the same entries");
        layout
    }

    /// Bytes that can be taken.
    pub fn ready(&self) -> usize {
        self.out.as_ref().map_or(0, BytesMut::len)
    }

    /// The next bytes of the file, up to `most`.
    pub fn take(&mut self, most: usize) -> Bytes {
        let Some(out) = &mut self.out else { return Bytes::new() };
        out.split_to(most.min(out.len())).freeze()
    }

    fn close_leaf(&mut self) {
        let mut leaf = std::mem::take(&mut self.leaf);
        let id = self.emit(&mut leaf, LEAF);
        self.put_child(0, &leaf.first_key, id);
        self.leaf = leaf;
    }

    /// Puts a page that was written into the branch above it.
    fn put_child(&mut self, level: usize, first_key: &[u8], id: u64) {
        if self.branches.len() == level {
            self.branches.push(OpenPage::default());
        }
        // Two children at least, however long the keys are, or the tree would not end.
        if self.branches[level].count >= 2 && !self.branches[level].takes(first_key.len(), 0) {
            let mut full = std::mem::take(&mut self.branches[level]);
            let branch = self.emit(&mut full, BRANCH);
            self.put_child(level + 1, &full.first_key, branch);
            self.branches[level] = full;
        }
        let keeps = self.out.is_some();
        let branch = &mut self.branches[level];
        if keeps {
            let place = branch.place();
            branch.elements.put_u32_le(place);
            branch.elements.put_u32_le(u32::try_from(first_key.len()).expect("a key is within a record's limit"));
            branch.elements.put_u64_le(id);
            branch.body.put_slice(first_key);
        }
        branch.last_child = id;
        branch.note(first_key, 0);
    }

    /// Writes the branches of the bucket that ends; says its root page, where it has one.
    fn close_branches(&mut self) -> Option<u64> {
        let mut level = 0;
        while level < self.branches.len() {
            let mut branch = std::mem::take(&mut self.branches[level]);
            if level + 1 == self.branches.len() && branch.count == 1 {
                self.branches.clear();
                return Some(branch.last_child);
            }
            let id = self.emit(&mut branch, BRANCH);
            self.put_child(level + 1, &branch.first_key, id);
            level += 1;
        }
        None
    }

    /// Writes a page and leaves it empty, with its first key.
    fn emit(&mut self, page: &mut OpenPage, flags: u16) -> u64 {
        let (id, count) = (self.next, page.count);
        let pages = page.used.max(HEAD_BYTES).div_ceil(PAGE_BYTES);
        self.next += pages as u64;
        if let Some(out) = &mut self.out {
            let to = out.len() + pages * PAGE_BYTES;
            let count = u16::try_from(count).expect("a page of entries has no room for more");
            let overflow = u32::try_from(pages - 1).expect("an entry is within a record's limit");
            out.reserve(pages * PAGE_BYTES);
            Head { id, flags, count, overflow }.encode(out);
            let place_at = if flags == LEAF { 4 } else { 0 };
            for (at, element) in page.elements.chunks_exact_mut(ELEMENT_BYTES).enumerate() {
                let place = &mut element[place_at..place_at + 4];
                let in_body = u32::from_le_bytes(place.try_into().expect("four bytes"));
                // A place is counted from the element that names it.
                let behind = (usize::from(count) - at) * ELEMENT_BYTES;
                place.copy_from_slice(&(in_body + behind as u32).to_le_bytes());
            }
            out.put_slice(&page.elements);
            out.put_slice(&page.body);
            out.resize(to, 0);
        }
        page.elements.clear();
        page.body.clear();
        (page.count, page.used) = (0, 0);
        id
    }
}

fn put_leaf_element(elements: &mut BytesMut, flags: u32, place: u32, key: usize, value: usize) {
    let within = |len: usize| u32::try_from(len).expect("an entry is within a record's limit");
    elements.put_u32_le(flags);
    elements.put_u32_le(place);
    elements.put_u32_le(within(key));
    elements.put_u32_le(within(value));
}
