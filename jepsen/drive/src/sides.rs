//! Two servers that are compared: what every comparison is told of them. Does not know what is compared.

use std::path::{Path, PathBuf};

use crate::process::{Trouble, fresh_home};

/// Two makes of a server, and what both are given.
#[derive(clap::Args, Clone, Debug)]
pub struct Sides {
    /// Server binary to compare with.
    #[arg(long)]
    pub left_bin: PathBuf,
    /// Server binary under test.
    #[arg(long)]
    pub right_bin: PathBuf,
    /// Flag for every server of both sides; may be given several times.
    #[arg(long = "flag", allow_hyphen_values = true)]
    pub flags: Vec<String>,
    /// Where the data directories go: the disk that is measured.
    #[arg(long)]
    pub base: Option<PathBuf>,
}

impl Sides {
    /// A name and the binary of each, left first.
    pub fn each(&self) -> [(&'static str, &Path); 2] {
        [("left", &self.left_bin), ("right", &self.right_bin)]
    }

    /// A name and the binary of one.
    pub fn one(&self, right: bool) -> (&'static str, &Path) {
        let [left, of_right] = self.each();
        if right { of_right } else { left }
    }

    /// A fresh directory for a comparison.
    pub fn home(&self, label: &str) -> Result<PathBuf, Trouble> {
        fresh_home(self.base.as_deref(), label)
    }

    /// The same for a bench, whose head is printed.
    pub fn introduce(&self, label: &str) -> Result<PathBuf, Trouble> {
        if cfg!(debug_assertions) {
            println!("WARNING: the load driver is a debug build; use cargo run --release\n");
        }
        println!("left  {}\nright {}", self.left_bin.display(), self.right_bin.display());
        self.home(label)
    }
}
