//! Falsifying what lies on a disk, with every checksum right: nobody notices by reading.

use bytes::{Bytes, BytesMut};
use quorate::base::{Fault, Wrong};
use quorate::env::{Disk, DiskFile, OpenMode};
use quorate::log::{FrameWrong, LOG_HISTORY, Place, frame, segment};
use quorate::machine::Image;
use quorate::mvcc::{HISTORY_DIR, Record};

/// The kind of a frame of the history that is a record (`docs/formats.md`).
const RECORD: u8 = 1;

/// Falsifies the running digest in the images that can be read, as after an entry that did something else there than
/// elsewhere; whether there was one.
pub async fn digest<D: Disk>(disk: D) -> Result<bool, Wrong> {
    let mut falsified = false;
    for (name, mut image) in images(&disk)? {
        image.state.digest = image.state.digest.map(|digest| digest ^ 1);
        let file = disk.open(&name, OpenMode::Write)?;
        let bytes = image.encode();
        file.set_len(bytes.len() as u64)?;
        file.write_at(0, &bytes)?;
        file.sync().await?;
        falsified |= image.state.digest.is_some();
    }
    Ok(falsified)
}

/// Falsifies every value of the history that an image covers: it has as many bytes as before, and ends in another. Whether one
/// was, of what the newest image holds.
pub async fn values<D: Disk>(disk: D) -> Result<bool, Wrong> {
    let newest = images(&disk)?.into_iter().map(|(_, image)| image).max_by_key(|image| image.state.applied);
    let Some(newest) = newest else { return Ok(false) };
    let covered: Vec<String> = newest.position.files().map(|(file, _)| file).collect();
    let mut falsified = false;
    for number in segment::list(&disk, HISTORY_DIR)? {
        let name = segment::path(HISTORY_DIR, number);
        let file = disk.open(&name, OpenMode::Write)?;
        let changed = values_in(&file, number)?;
        file.sync().await?;
        falsified |= changed && covered.contains(&name);
    }
    Ok(falsified)
}

/// The images that can be read, with their names.
fn images<D: Disk>(disk: &D) -> Result<Vec<(String, Image)>, Fault> {
    let mut images = Vec::new();
    for name in disk.list("checkpoint")?.iter().filter(|name| name.ends_with(".image")) {
        let name = format!("checkpoint/{name}");
        let file = disk.open(&name, OpenMode::Write)?;
        images.extend(Image::decode(&read(&file)?).ok().map(|image| (name, image)));
    }
    Ok(images)
}

fn read<F: DiskFile>(file: &F) -> Result<Bytes, Fault> {
    let mut bytes = vec![0; file.len()? as usize];
    file.read_full_at(0, &mut bytes)?;
    Ok(Bytes::from(bytes))
}

/// Falsifies the values of a segment's records; whether there was any.
fn values_in<F: DiskFile>(file: &F, number: u64) -> Result<bool, Fault> {
    let bytes = read(file)?;
    let (mut at, mut falsified) = (0, false);
    while at < bytes.len() {
        let place = Place { log: LOG_HISTORY, segment: number, offset: at as u64 };
        let framed = match frame::decode(place, &bytes.slice(at..)) {
            Ok(framed) => framed,
            // What was being written when the life ended.
            Err(FrameWrong::End | FrameWrong::Short { .. } | FrameWrong::Damaged(_)) => break,
        };
        if framed.kind == RECORD
            && let Ok(mut record) = Record::decode(framed.body)
            && let Some((last, before)) = record.value.split_last()
        {
            record.value = [before, &[last ^ 1]].concat().into();
            let mut body = BytesMut::new();
            record.encode(&mut body);
            let mut out = BytesMut::new();
            frame::encode(&mut out, place, framed.kind, &[&body]);
            file.write_at(at as u64, &out)?;
            falsified = true;
        }
        at += framed.total;
    }
    Ok(falsified)
}
