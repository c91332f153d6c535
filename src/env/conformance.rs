//! The suite every [`Disk`] must pass: what the rooms above rely on, call by call.
//!
//! Public, not only for tests, because the simulator's disk has to pass it too. It needs an empty directory
//! tree and whatever runtime the disk's futures need. It says nothing of crashes: durability is the
//! simulator's business.

use super::seam::{Disk, DiskFile, OpenMode};
use crate::base::Fault;

/// Runs the whole suite on an empty disk. The error says which promise does not hold.
pub async fn check<D: Disk>(disk: &D) -> Result<(), String> {
    directories(disk).await?;
    open_modes(disk)?;
    reads_and_writes(disk)?;
    lengths(disk).await?;
    names(disk)?;
    handles(disk)?;
    large_file(disk).await
}

fn expect(holds: bool, promise: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("does not hold: {promise}")) }
}

fn works<T>(answer: Result<T, Fault>, promise: &str) -> Result<T, String> {
    answer.map_err(|fault| format!("does not work: {promise}: {fault}"))
}

fn fails<T>(answer: Result<T, Fault>, promise: &str) -> Result<(), String> {
    expect(answer.is_err(), promise)
}

fn create<D: Disk>(disk: &D, name: &str, bytes: &[u8]) -> Result<D::File, String> {
    let file = works(disk.open(name, OpenMode::Create), "create a file")?;
    works(file.write_at(0, bytes), "write to a created file")?;
    Ok(file)
}

fn content(file: &impl DiskFile) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; works(file.len(), "tell the length")? as usize];
    let n = works(file.read_full_at(0, &mut bytes), "read a file")?;
    expect(n == bytes.len(), "a file has as many bytes as its length")?;
    Ok(bytes)
}

fn content_of<D: Disk>(disk: &D, name: &str) -> Result<Vec<u8>, String> {
    content(&works(disk.open(name, OpenMode::Read), "open a file for reading")?)
}

async fn directories<D: Disk>(disk: &D) -> Result<(), String> {
    expect(works(disk.list(""), "list the root")?.is_empty(), "the suite starts on an empty disk")?;
    fails(disk.list("d"), "listing a missing directory is a fault")?;
    fails(disk.sync_dir("d").await, "syncing a missing directory is a fault")?;
    fails(disk.open("d/x", OpenMode::Create), "creating in a missing directory is a fault")?;
    works(disk.create_dir("d/e"), "create a directory and its parent")?;
    works(disk.create_dir("d/e"), "create a directory that exists")?;
    expect(works(disk.list("d"), "list")?.is_empty(), "directories are not listed as files")?;
    expect(!works(disk.exists("d"), "ask for a directory")?, "a directory is not a file that exists")?;
    for name in ["d/b", "d/a", "d/e/z", "d/c", "r"] {
        create(disk, name, b"")?;
    }
    expect(works(disk.list("d"), "list")? == ["a", "b", "c"], "a list is sorted and of this directory only")?;
    expect(works(disk.list("d/e"), "list")? == ["z"], "a nested directory is listed")?;
    expect(works(disk.list(""), "list the root")? == ["r"], "the root is listed")?;
    for dir in ["", "d", "d/e"] {
        works(disk.sync_dir(dir).await, "sync a directory")?;
    }
    fails(disk.create_dir("r/x"), "creating a directory below a file is a fault")
}

fn open_modes<D: Disk>(disk: &D) -> Result<(), String> {
    fails(disk.open("m", OpenMode::Read), "reading a missing file is a fault")?;
    fails(disk.open("m", OpenMode::Write), "writing a missing file is a fault")?;
    expect(!works(disk.exists("m"), "ask for a file")?, "a file that failed to open was not made")?;
    let file = create(disk, "m", b"one")?;
    expect(works(disk.exists("m"), "ask for a file")?, "a created file exists")?;
    expect(content(&file)? == b"one", "a created file can be read through its handle")?;
    fails(disk.open("m", OpenMode::Create), "creating what exists is a fault")?;
    expect(content_of(disk, "m")? == b"one", "a failed create leaves the file alone")?;
    let file = works(disk.open("m", OpenMode::Write), "open for writing")?;
    works(file.write_at(1, b"N"), "write")?;
    expect(content(&file)? == b"oNe", "opening for writing cuts nothing and reads")?;
    let file = works(disk.open("m", OpenMode::Read), "open for reading")?;
    fails(file.write_at(0, b"x"), "writing through a reading handle is a fault")?;
    fails(file.set_len(0), "resizing through a reading handle is a fault")?;
    expect(content(&file)? == b"oNe", "a refused write changes nothing")
}

fn reads_and_writes<D: Disk>(disk: &D) -> Result<(), String> {
    let file = create(disk, "rw", b"")?;
    expect(works(file.is_empty(), "ask whether empty")?, "a created file is empty")?;
    works(file.write_at(100, b""), "write nothing")?;
    expect(works(file.len(), "tell the length")? == 0, "writing nothing grows nothing")?;
    works(file.write_at(10, b"abc"), "write behind the end")?;
    expect(content(&file)? == b"\0\0\0\0\0\0\0\0\0\0abc", "a gap reads as zeroes")?;
    works(file.write_at(8, b"1234567"), "write across the end")?;
    expect(content(&file)?[8..] == *b"1234567", "a write across the end replaces and grows")?;
    let mut buf = [7; 10];
    expect(works(file.read_full_at(12, &mut buf), "read")? == 3, "a read at the end is short")?;
    expect(buf[..3] == *b"567" && buf[3..] == [7; 7], "a short read touches only what it read")?;
    for offset in [15, 16, 1 << 40] {
        expect(works(file.read_at(offset, &mut buf), "read behind the end")? == 0, "nothing is read behind the end")?;
    }
    expect(works(file.read_at(0, &mut []), "read nothing")? == 0, "reading nothing reads nothing")?;
    let n = works(file.read_at(0, &mut buf), "read")?;
    expect((1..=10).contains(&n), "a read before the end makes progress")
}

async fn lengths<D: Disk>(disk: &D) -> Result<(), String> {
    let file = create(disk, "len", b"abcdef")?;
    works(file.set_len(3), "cut a file")?;
    expect(content(&file)? == b"abc", "a cut file keeps its start")?;
    works(file.set_len(5), "grow a file")?;
    expect(content(&file)? == b"abc\0\0", "what was cut off reads as zeroes after growing")?;
    works(file.sync().await, "sync a file")?;
    works(file.set_len(0), "cut to nothing")?;
    works(file.sync().await, "sync an empty file")?;
    expect(content_of(disk, "len")?.is_empty(), "a file cut to nothing is empty through every handle")
}

fn names<D: Disk>(disk: &D) -> Result<(), String> {
    works(disk.create_dir("n/m"), "create directories")?;
    create(disk, "n/a", b"a")?;
    create(disk, "n/b", b"b")?;
    works(disk.rename("n/a", "n/b"), "rename over a file")?;
    expect(works(disk.list("n"), "list")? == ["b"], "a renamed file has only its new name")?;
    expect(content_of(disk, "n/b")? == b"a", "a rename replaces what had the name")?;
    works(disk.rename("n/b", "n/m/c"), "rename into another directory")?;
    expect(works(disk.list("n/m"), "list")? == ["c"], "a file moved to another directory is there")?;
    expect(works(disk.list("n"), "list")?.is_empty(), "a file moved to another directory has left")?;
    works(disk.rename("n/m/c", "n/m/c"), "rename to the same name")?;
    expect(content_of(disk, "n/m/c")? == b"a", "renaming to the same name changes nothing")?;
    fails(disk.rename("n/x", "n/y"), "renaming a missing file is a fault")?;
    fails(disk.rename("n/m/c", "missing/c"), "renaming into a missing directory is a fault")?;
    fails(disk.remove("n/x"), "removing a missing file is a fault")?;
    works(disk.remove("n/m/c"), "remove a file")?;
    expect(!works(disk.exists("n/m/c"), "ask for a file")?, "a removed file does not exist")?;
    fails(disk.open("n/m/c", OpenMode::Read), "a removed file cannot be opened")?;
    let file = create(disk, "n/m/c", b"")?;
    expect(content(&file)?.is_empty(), "a file made anew is empty")
}

fn handles<D: Disk>(disk: &D) -> Result<(), String> {
    let one = create(disk, "h", b"first")?;
    let other_disk = disk.clone();
    let two = works(other_disk.open("h", OpenMode::Write), "open a file twice")?;
    let reader = works(disk.open("h", OpenMode::Read), "open a file three times")?;
    works(two.write_at(0, b"FIRST and more"), "write through another handle")?;
    expect(content(&one)? == b"FIRST and more", "all handles see the same file")?;
    expect(content(&reader)? == b"FIRST and more", "a reading handle sees later writes")?;
    works(disk.rename("h", "i"), "rename an open file")?;
    works(one.write_at(0, b"f"), "write to a renamed file")?;
    expect(content_of(disk, "i")? == b"fIRST and more", "handles follow a renamed file")?;
    create(disk, "j", b"new")?;
    works(disk.rename("j", "i"), "replace an open file")?;
    expect(content(&reader)? == b"fIRST and more", "a replaced file is still read through its handle")?;
    works(disk.remove("i"), "remove a file")?;
    create(disk, "i", b"again")?;
    works(two.write_at(0, b"!"), "write to a file without a name")?;
    expect(content(&reader)? == b"!IRST and more", "a removed file lives on in its handles")?;
    expect(content_of(disk, "i")? == b"again", "a removed file is not the one made anew")
}

async fn large_file<D: Disk>(disk: &D) -> Result<(), String> {
    const BLOCK: usize = 64 * 1024;
    const BLOCKS: usize = 48;
    let file = create(disk, "large", b"")?;
    for block in (0..BLOCKS).rev() {
        works(file.write_at((block * BLOCK) as u64, &vec![block as u8 + 1; BLOCK]), "write a large file backwards")?;
    }
    works(file.sync().await, "sync a large file")?;
    let bytes = content(&file)?;
    expect(bytes.len() == BLOCKS * BLOCK, "a large file has its length")?;
    let right = bytes.chunks(BLOCK).enumerate().all(|(block, bytes)| bytes.iter().all(|b| *b == block as u8 + 1));
    expect(right, "a large file holds what was written")?;
    let far = 5 * 1024 * 1024;
    works(file.set_len(far), "grow a large file")?;
    works(file.write_at(far - 1, b"e"), "write the last byte")?;
    expect(works(file.len(), "tell the length")? == far, "writing the last byte grows nothing")?;
    works(disk.remove("large"), "remove a large file")
}
