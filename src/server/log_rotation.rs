//! A log file that is put aside when it is full, and what becomes of those put aside (`--enable-log-rotation`).
//!
//! Names and rules are those of the library that etcd has it from: `etcd.log` becomes `etcd-2026-01-02T03-04-05.678.log`.
//! Invariants: the file is no larger than its limit, but for one line that is larger alone; only files whose names say
//! that they were put aside are ever removed. Does not know what a line says.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::base::calendar_day;

/// Where rotation is asked for and the log goes to no file, or to several.
const ONE_FILE: &str = "--log-outputs requires a single file path when --log-rotate-config-json is defined";

/// Largest file where the configuration says none.
const DEFAULT_MEGABYTES: u64 = 100;

/// When a file is put aside, and how long it is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rotation {
    max_bytes: u64,
    /// `None` is for ever.
    max_age: Option<Duration>,
    /// `None` is all of them.
    max_backups: Option<usize>,
}

impl Rotation {
    /// As `--log-rotation-config-json` has it, for these outputs.
    ///
    /// # Errors
    /// etcd's text; compression and local time are refused, for they are not built.
    pub fn read(json: &str, outputs: &[String]) -> Result<Self, String> {
        let files = outputs.iter().filter(|output| !matches!(output.as_str(), "default" | "stderr" | "stdout")).count();
        if files > 1 || (files == 0 && outputs.len() == 1) {
            return Err(ONE_FILE.to_owned());
        }
        let value: Value = serde_json::from_str(json).map_err(|error| {
            let why = if error.is_eof() { "unexpected end of JSON input".to_owned() } else { error.to_string() };
            format!("improperly formatted log rotation config: {why}")
        })?;
        let number = |name: &str| match &value[name] {
            Value::Null => Ok(0),
            Value::Number(number) if number.is_i64() || number.is_u64() => Ok(number.as_u64().unwrap_or(0)),
            other => Err(of_another_kind(other, name, "int")),
        };
        let flag = |name: &str| match &value[name] {
            Value::Null => Ok(false),
            Value::Bool(value) => Ok(*value),
            other => Err(of_another_kind(other, name, "bool")),
        };
        let (size, age, backups) = (number("maxsize")?, number("maxage")?, number("maxbackups")?);
        for name in ["localtime", "compress"] {
            if flag(name)? {
                return Err(format!("--log-rotation-config-json: {name} is not supported by quorate yet"));
            }
        }
        let size = if size == 0 { DEFAULT_MEGABYTES } else { size };
        Ok(Self {
            max_bytes: size.saturating_mul(1024 * 1024),
            max_age: (age > 0).then(|| Duration::from_secs(age.saturating_mul(24 * 60 * 60))),
            max_backups: (backups > 0).then(|| usize::try_from(backups).unwrap_or(usize::MAX)),
        })
    }
}

fn of_another_kind(value: &Value, name: &str, wanted: &str) -> String {
    let kind = match value {
        Value::String(_) => "string".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(number) => format!("number {number}"),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
        Value::Null => "null".to_owned(),
    };
    format!(
        "invalid log rotation config: json: cannot unmarshal {kind} into Go struct field logRotationConfig.Logger.{name} \
         of type {wanted}"
    )
}

/// The file.
#[derive(Debug)]
pub struct Rotating {
    path: PathBuf,
    file: File,
    bytes: u64,
    rotation: Rotation,
}

impl Rotating {
    /// Goes on with the file, or puts it aside where it is full.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &str, rotation: Rotation) -> io::Result<Self> {
        let path = PathBuf::from(path);
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let bytes = file.metadata()?.len();
        let mut rotating = Self { path, file, bytes, rotation };
        if bytes >= rotation.max_bytes {
            rotating.put_aside()?;
        }
        Ok(rotating)
    }

    fn put_aside(&mut self) -> io::Result<()> {
        let now = SystemTime::now();
        let mut moment = now;
        let (stem, end) = parts(&self.path);
        let mut aside = self.path.with_file_name(format!("{stem}-{}{end}", name_of(moment)));
        // Two in one thousandth of a second would have one name.
        while aside.exists() {
            moment += Duration::from_millis(1);
            aside = self.path.with_file_name(format!("{stem}-{}{end}", name_of(moment)));
        }
        fs::rename(&self.path, &aside)?;
        self.file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        self.bytes = 0;
        self.tidy(now);
        Ok(())
    }

    /// Removes what is too old, or too many. What cannot be removed now is tried again the next time.
    fn tidy(&self, now: SystemTime) {
        let (stem, end) = parts(&self.path);
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let names = fs::read_dir(directory)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok());
        let moment = |name: &str| {
            let name = name.strip_prefix(stem.as_str())?.strip_prefix('-')?.strip_suffix(end.as_str())?;
            is_moment(name).then(|| name.to_owned())
        };
        let mut aside: Vec<(String, String)> = names.filter_map(|name| Some((moment(&name)?, name))).collect();
        aside.sort();
        aside.reverse();
        let oldest = self.rotation.max_age.and_then(|age| now.checked_sub(age)).map(name_of);
        for (place, (moment, name)) in aside.iter().enumerate() {
            let too_many = self.rotation.max_backups.is_some_and(|most| place >= most);
            if too_many || oldest.as_ref().is_some_and(|oldest| moment < oldest) {
                let _ = fs::remove_file(directory.join(name));
            }
        }
    }
}

impl Write for Rotating {
    /// A line: it is never divided between two files.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let more = line.len() as u64;
        if self.bytes > 0 && self.bytes + more > self.rotation.max_bytes {
            // One that cannot be put aside goes on growing: lines are worth more than the limit.
            let _ = self.put_aside();
        }
        self.file.write_all(line)?;
        self.bytes += more;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The name of a file before its extension, and the extension with its dot.
fn parts(path: &Path) -> (String, String) {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match name.rfind('.') {
        Some(dot) => (name[..dot].to_owned(), name[dot..].to_owned()),
        None => (name, String::new()),
    }
}

/// `2026-01-02T03-04-05.678`.
fn name_of(moment: SystemTime) -> String {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, millis) = (since.as_secs(), since.subsec_millis());
    let (year, month, day) = calendar_day(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}-{minute:02}-{second:02}.{millis:03}")
}

fn is_moment(text: &str) -> bool {
    let form = "dddd-dd-ddTdd-dd-dd.ddd";
    text.len() == form.len()
        && text
            .chars()
            .zip(form.chars())
            .all(|(c, wanted)| if wanted == 'd' { c.is_ascii_digit() } else { c == wanted })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_configuration_is_for_one_file() {
        let default = r#"{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}"#;
        let read = Rotation::read(default, &outputs(&["stderr", "/log"])).expect("one file");
        assert_eq!(read, Rotation { max_bytes: 100 << 20, max_age: None, max_backups: None });
        assert_eq!(Rotation::read("{}", &outputs(&["/log"])), Ok(read));
        for bad in [&["default"][..], &["stdout"], &["/a", "/b"]] {
            assert_eq!(Rotation::read(default, &outputs(bad)), Err(ONE_FILE.to_owned()), "{bad:?}");
        }
        for (json, why) in [
            ("{", "improperly formatted log rotation config: unexpected end of JSON input"),
            (r#"{"maxsize":"x"}"#, "invalid log rotation config: json: cannot unmarshal string into Go struct field"),
            (r#"{"compress":true}"#, "--log-rotation-config-json: compress is not supported by quorate yet"),
        ] {
            let refused = Rotation::read(json, &outputs(&["/log"])).expect_err(json);
            assert!(refused.starts_with(why), "{refused}");
        }
    }

    #[test]
    fn a_full_file_is_put_aside_and_the_newest_few_are_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("quorate.log");
        fs::write(directory.path().join("quorate-other.log"), "not put aside").expect("written");
        fs::write(directory.path().join("quorate-2001-02-03T04-05-06.789.log"), "old").expect("written");
        let rotation = Rotation { max_bytes: 25, max_age: None, max_backups: Some(2) };
        let open = || Rotating::open(path.to_str().expect("text"), rotation).expect("opened");
        let mut log = open();
        for n in 0..7 {
            log.write_all(format!("line {n:04}\n").as_bytes()).expect("written");
        }
        drop(log);
        // Another start goes on with the file.
        open().write_all(b"line last\n").expect("written");
        let mut names: Vec<String> = fs::read_dir(directory.path())
            .expect("there")
            .map(|entry| entry.expect("there").file_name().into_string().expect("text"))
            .collect();
        names.sort();
        assert_eq!(names.len(), 4, "{names:?}");
        assert!(names.contains(&"quorate-other.log".to_owned()), "{names:?}");
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).expect("text");
        let aside: Vec<&String> = names.iter().filter(|name| name.starts_with("quorate-2")).collect();
        assert_eq!(
            aside.iter().map(|name| read(name)).collect::<String>(),
            "line 0002\nline 0003\nline 0004\nline 0005\n"
        );
        assert_eq!(read("quorate.log"), "line 0006\nline last\n");
    }

    #[test]
    fn what_is_too_old_goes() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        fs::write(directory.path().join("log-2001-02-03T04-05-06.789"), "old").expect("written");
        let rotation = Rotation { max_bytes: 1, max_age: Some(Duration::from_secs(86_400)), max_backups: None };
        let mut log = Rotating::open(path.to_str().expect("text"), rotation).expect("opened");
        log.write_all(b"one\n").expect("written");
        log.write_all(b"two\n").expect("written");
        assert!(!directory.path().join("log-2001-02-03T04-05-06.789").exists());
        assert_eq!(fs::read_dir(directory.path()).expect("there").count(), 2, "the file and the one put aside");
    }
}
