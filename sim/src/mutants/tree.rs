//! The copy of the sources in which bugs are planted, and its own build tree.
//!
//! Both lie below `target/mutants`. The build tree begins as the simulator's own (by hard links), so that what the
//! workspace depends on is not built again; what is built there afterwards is built incrementally, a bug after the other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a build of the simulator needs of the workspace.
const PARTS: [&str; 11] = [
    "Cargo.toml",
    "Cargo.lock",
    ".cargo",
    "src",
    "benches",
    "sim",
    "jepsen/spec",
    "jepsen/drive",
    "tools/httpdate",
    "tools/wiregen",
    "proto",
];

/// Lines of a failed build that are shown.
const SHOWN: usize = 40;

/// See the module's head.
pub struct Tree {
    root: PathBuf,
    copy: PathBuf,
    build: PathBuf,
}

fn told(path: &Path) -> impl Fn(std::io::Error) -> String {
    let path = path.display().to_string();
    move |error| format!("{path}: {error}")
}

/// Writes a file where it differs, so that a build sees only what changed.
fn write(file: &Path, text: &[u8]) -> Result<(), String> {
    if std::fs::read(file).is_ok_and(|there| there == text) {
        return Ok(());
    }
    std::fs::write(file, text).map_err(told(file))
}

/// Makes `to` the same as `from`; what is not there any more is removed.
fn mirror(from: &Path, to: &Path) -> Result<(), String> {
    if from.is_file() {
        return write(to, &std::fs::read(from).map_err(told(from))?);
    }
    std::fs::create_dir_all(to).map_err(told(to))?;
    let names = |dir: &Path| -> Result<Vec<std::ffi::OsString>, String> {
        let entries = std::fs::read_dir(dir).map_err(told(dir))?;
        Ok(entries.filter_map(|entry| entry.ok().map(|entry| entry.file_name())).collect())
    };
    let wanted = names(from)?;
    for gone in names(to)?.into_iter().filter(|name| !wanted.contains(name)) {
        let gone = to.join(gone);
        let removed = if gone.is_dir() { std::fs::remove_dir_all(&gone) } else { std::fs::remove_file(&gone) };
        removed.map_err(told(&gone))?;
    }
    wanted.iter().try_for_each(|name| mirror(&from.join(name), &to.join(name)))
}

/// Links every file below `from` into `to`, but those of directories called `incremental`, and cargo's lock: with one lock for both
/// trees one build would wait for the other.
fn link(from: &Path, to: &Path) -> Result<(), String> {
    std::fs::create_dir_all(to).map_err(told(to))?;
    for entry in std::fs::read_dir(from).map_err(told(from))?.filter_map(Result::ok) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            if entry.file_name() != "incremental" {
                link(&from, &to)?;
            }
        } else if !to.exists() && entry.file_name() != ".cargo-lock" {
            std::fs::hard_link(&from, &to).map_err(told(&from))?;
        }
    }
    Ok(())
}

impl Tree {
    /// A copy of the sources below `root`, as they are now.
    pub fn of(root: &Path) -> Result<Self, String> {
        let dir = root.join("target/mutants");
        let tree = Self { root: root.to_path_buf(), copy: dir.join("tree"), build: dir.join("build") };
        for part in PARTS {
            let to = tree.copy.join(part);
            let parent = to.parent().expect("a part lies in the copy");
            std::fs::create_dir_all(parent).map_err(told(parent))?;
            mirror(&root.join(part), &to)?;
        }
        let built = root.join("target/sim/sim");
        if !tree.build.exists() && built.exists() {
            link(&built, &tree.build.join("sim"))?;
        }
        Ok(tree)
    }

    /// Builds the simulator with these files in place of its own; the program.
    pub fn build(&self, edited: &BTreeMap<String, String>) -> Result<PathBuf, String> {
        for (file, text) in edited {
            write(&self.copy.join(file), text.as_bytes())?;
        }
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet", "--config", "build.rustflags=['--cfg','madsim']", "--profile", "sim"]);
        cargo.args(["--package", "quorate-sim", "--target-dir"]).arg(&self.build);
        cargo.env("CARGO_PROFILE_SIM_INCREMENTAL", "true").env_remove("CARGO_TARGET_DIR");
        let output = cargo.current_dir(&self.copy).stdin(Stdio::null()).output();
        let output = output.map_err(|error| format!("cargo could not be started: {error}"))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            let shown: Vec<&str> = text.lines().filter(|line| !line.starts_with("warning")).take(SHOWN).collect();
            return Err(format!("it does not build:\n{}", shown.join("\n")));
        }
        Ok(self.build.join("sim/quorate-sim"))
    }

    /// Puts files back as they are in the workspace.
    pub fn restore<'a>(&self, files: impl Iterator<Item = &'a String>) -> Result<(), String> {
        files.into_iter().try_for_each(|file| mirror(&self.root.join(file), &self.copy.join(file)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_follows_what_it_mirrors() {
        let dir = std::env::temp_dir().join(format!("quorate-mirror-{}", std::process::id()));
        let (from, to) = (dir.join("from"), dir.join("to"));
        std::fs::create_dir_all(from.join("deep")).unwrap();
        std::fs::write(from.join("deep/one"), "1").unwrap();
        std::fs::write(from.join("two"), "2").unwrap();
        mirror(&from, &to).unwrap();
        assert_eq!(std::fs::read(to.join("deep/one")).unwrap(), b"1");
        let before = std::fs::metadata(to.join("two")).unwrap().modified().unwrap();
        std::fs::remove_dir_all(from.join("deep")).unwrap();
        mirror(&from, &to).unwrap();
        assert!(!to.join("deep").exists());
        assert_eq!(
            std::fs::metadata(to.join("two")).unwrap().modified().unwrap(),
            before,
            "what is the same is let be"
        );
        std::fs::remove_dir_all(dir).unwrap();
    }
}
