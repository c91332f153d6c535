//! A log file that is put aside when it is full (`--enable-log-rotation`).
//!
//! Names and rules are those of the library that etcd has it from: `etcd.log` becomes `etcd-2026-01-02T03-04-05.678.log`.
//! Invariant: the file is no larger than its limit, but for one line that is larger alone. Does not know what a line says, nor what
//! becomes of what was put aside (`log_archive.rs`).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use crate::server::log_archive::{Archive, Keep};

/// Where rotation is asked for and the log goes to no file, or to several.
const ONE_FILE: &str = "--log-outputs requires a single file path when --log-rotate-config-json is defined";

/// Largest file where the configuration says none.
const DEFAULT_MEGABYTES: u64 = 100;

/// When a file is put aside, and how long it is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rotation {
    max_bytes: u64,
    keep: Keep,
}

impl Rotation {
    /// As `--log-rotation-config-json` has it, for these outputs.
    ///
    /// # Errors
    /// etcd's text.
    pub fn read(json: &str, outputs: &[String]) -> Result<Self, String> {
        let files = outputs.iter().filter(|output| !matches!(output.as_str(), "default" | "stderr" | "stdout")).count();
        if files > 1 || (files == 0 && outputs.len() == 1) {
            return Err(ONE_FILE.to_owned());
        }
        let value: Value = serde_json::from_str(json).map_err(|error| {
            let why = if error.is_eof() { "unexpected end of JSON input".to_owned() } else { error.to_string() };
            format!("improperly formatted log rotation config: {why}")
        })?;
        let fields = match value {
            // Nothing is said by it, as by a map without a key; an etcd breaks down at both.
            Value::Null => Map::new(),
            Value::Object(fields) => fields,
            other => {
                let kind = kind_of(&other);
                let text = "invalid log rotation config: json: cannot unmarshal";
                return Err(format!("{text} {kind} into Go value of type embed.logRotationConfig"));
            }
        };
        // Go's library takes keys whatever the case of their letters.
        let field = |name: &str| {
            let found = fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map_or(&Value::Null, |(_, value)| value)
        };
        let number = |name: &str| match field(name) {
            Value::Null => Ok(0),
            // What is below nothing is nothing.
            Value::Number(number) if number.is_i64() => Ok(number.as_u64().unwrap_or(0)),
            other => Err(of_another_kind(other, name, "int")),
        };
        let flag = |name: &str| match field(name) {
            Value::Null => Ok(false),
            Value::Bool(value) => Ok(*value),
            other => Err(of_another_kind(other, name, "bool")),
        };
        let (size, age, backups) = (number("maxsize")?, number("maxage")?, number("maxbackups")?);
        let in_local_time = flag("localtime")?;
        let size = if size == 0 { DEFAULT_MEGABYTES } else { size };
        Ok(Self {
            max_bytes: size.saturating_mul(1024 * 1024),
            keep: Keep {
                max_age: (age > 0).then(|| Duration::from_secs(age.saturating_mul(24 * 60 * 60))),
                max_backups: (backups > 0).then(|| usize::try_from(backups).unwrap_or(usize::MAX)),
                compresses: flag("compress")?,
                in_local_time,
            },
        })
    }
}

fn of_another_kind(value: &Value, name: &str, wanted: &str) -> String {
    let kind = match value {
        Value::Number(number) => format!("number {number}"),
        other => kind_of(other).to_owned(),
    };
    format!(
        "invalid log rotation config: json: cannot unmarshal {kind} into Go struct field logRotationConfig.Logger.{name} \
         of type {wanted}"
    )
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "string",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
        Value::Null => "null",
    }
}

/// The file.
#[derive(Debug)]
pub struct Rotating {
    path: PathBuf,
    file: File,
    bytes: u64,
    max_bytes: u64,
    archive: Arc<Archive>,
}

impl Rotating {
    /// Goes on with the file, or puts it aside where it is full.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &str, rotation: Rotation) -> io::Result<Self> {
        let path = PathBuf::from(path);
        if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            fs::create_dir_all(directory)?;
        }
        // As by the library of etcd's: nobody else reads a file that it makes.
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
        let bytes = file.metadata()?.len();
        let archive = Archive::of(&path, rotation.keep);
        let mut rotating = Self { path, file, bytes, max_bytes: rotation.max_bytes, archive };
        if bytes >= rotation.max_bytes {
            rotating.put_aside()?;
        } else {
            rotating.archive.look_through(SystemTime::now());
        }
        Ok(rotating)
    }

    fn put_aside(&mut self) -> io::Result<()> {
        let now = SystemTime::now();
        let mut moment = now;
        // Two in one thousandth of a second would have one name.
        while self.archive.has(moment) {
            moment += Duration::from_millis(1);
        }
        let aside = self.archive.path_at(moment);
        fs::rename(&self.path, &aside)?;
        let mode = self.file.metadata()?.permissions().mode();
        self.file = OpenOptions::new().create(true).append(true).mode(mode).open(&self.path)?;
        self.bytes = 0;
        self.archive.look_through(now);
        Ok(())
    }
}

impl Write for Rotating {
    /// A line: it is never divided between two files.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let more = line.len() as u64;
        if self.bytes > 0 && self.bytes + more > self.max_bytes {
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
        assert_eq!(read, Rotation { max_bytes: 100 << 20, keep: Keep::default() });
        let squeezed = Rotation::read(r#"{"compress":true,"maxbackups":3}"#, &outputs(&["/log"])).expect("built");
        let local = Rotation::read(r#"{"localtime":true}"#, &outputs(&["/log"])).expect("built");
        assert_eq!(local.keep, Keep { in_local_time: true, ..Keep::default() });
        assert_eq!(squeezed.keep, Keep { max_backups: Some(3), compresses: true, ..Keep::default() });
        for nothing in ["{}", "null", r#"{"foo":1}"#, r#"{"maxsize":null}"#] {
            assert_eq!(Rotation::read(nothing, &outputs(&["/log"])), Ok(read), "{nothing}");
        }
        let large = Rotation::read(r#"{"MaxSize":5}"#, &outputs(&["/log"]));
        assert_eq!(large.map(|rotation| rotation.max_bytes), Ok(5 << 20), "in letters of any case");
        for least in [r#"{"maxsize":-1}"#, r#"{"maxage":9223372036854775807}"#] {
            let taken = Rotation::read(least, &outputs(&["/log"]));
            assert_eq!(taken.map(|rotation| rotation.max_bytes), Ok(100 << 20), "{least}");
        }
        for bad in [&["default"][..], &["stdout"], &["/a", "/b"]] {
            assert_eq!(Rotation::read(default, &outputs(bad)), Err(ONE_FILE.to_owned()), "{bad:?}");
        }
        for (json, why) in [
            ("{", "improperly formatted log rotation config: unexpected end of JSON input"),
            (r#"{"maxsize":"x"}"#, "invalid log rotation config: json: cannot unmarshal string into Go struct field"),
            (
                "[]",
                "invalid log rotation config: json: cannot unmarshal array into Go value of type embed.logRotationConfig",
            ),
            ("5", "invalid log rotation config: json: cannot unmarshal number into Go value of type embed."),
            (r#""x""#, "invalid log rotation config: json: cannot unmarshal string into Go value of type embed."),
            (r#"{"MaxSize":"x"}"#, "invalid log rotation config: json: cannot unmarshal string into Go struct field"),
            (
                r#"{"maxsize":18446744073709551615}"#,
                "invalid log rotation config: json: cannot unmarshal number 18446744073709551615 into Go struct field logRotationConfig.Logger.maxsize of type int",
            ),
            (
                r#"{"maxage":9223372036854775808}"#,
                "invalid log rotation config: json: cannot unmarshal number 9223372036854775808 into Go struct field",
            ),
            (r#"{"compress":1}"#, "invalid log rotation config: json: cannot unmarshal number 1 into Go struct field"),
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
        let rotation = Rotation { max_bytes: 25, keep: Keep { max_backups: Some(2), ..Keep::default() } };
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
        for name in aside.iter().map(|name| name.as_str()).chain(["quorate.log"]) {
            let mode = fs::metadata(directory.path().join(name)).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn what_is_too_old_goes() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        fs::write(directory.path().join("log-2001-02-03T04-05-06.789"), "old").expect("written");
        let keep = Keep { max_age: Some(Duration::from_secs(86_400)), ..Keep::default() };
        let rotation = Rotation { max_bytes: 1, keep };
        let mut log = Rotating::open(path.to_str().expect("text"), rotation).expect("opened");
        assert!(!directory.path().join("log-2001-02-03T04-05-06.789").exists(), "at the start already");
        fs::write(directory.path().join("log-2001-02-03T04-05-06.789"), "old").expect("written");
        log.write_all(b"one\n").expect("written");
        log.write_all(b"two\n").expect("written");
        assert!(!directory.path().join("log-2001-02-03T04-05-06.789").exists());
        assert_eq!(fs::read_dir(directory.path()).expect("there").count(), 2, "the file and the one put aside");
        let below = directory.path().join("a/b/log");
        Rotating::open(below.to_str().expect("text"), rotation).expect("its directory is made, as by etcd's library");
    }
}
