//! What etcdutl does to a data directory and what is left of it here: `defrag`, and `migrate` between versions.

use std::path::Path;

use super::arguments::Given;
use super::failure::{Exit, Failure};
use super::source::check_there;
use super::telling::tell;
use crate::base::go_quoted;
use crate::server::holds_member;

/// Whether `dir` is one of ours; the text says what it is else.
fn check_ours(dir: &Path) -> Result<(), String> {
    check_there(dir).map_err(|failure| failure.text().to_string())?;
    if holds_member(dir) {
        return Ok(());
    }
    if dir.join("member").is_dir() {
        let import =
            format!("quorateutl migrate --from-etcd {} --data-dir DIR makes one of quorate of it", dir.display());
        return Err(format!("it is a data directory of etcd: {import}"));
    }
    Err("no member has begun there".to_string())
}

/// There is nothing to do, and this says why.
pub fn defrag(given: &Given) -> Result<(), Failure> {
    let dir = given.text("data-dir");
    check_ours(Path::new(dir))
        .map_err(|why| Failure::new(Exit::Error, format!("Failed to defragment etcd data[{dir}] ({why})")))?;
    tell(format_args!(
        "finished defragmenting directory {dir}: there is nothing to do, space is given back as it comes free, while the server runs"
    ));
    Ok(())
}

/// The form of the data does not depend on the version of etcd's API: this says so, and refuses what etcdutl does.
pub fn migrate(given: &Given) -> Result<(), Failure> {
    let target = given.text("target-version");
    let wrong = |text: String| Failure::new(Exit::BadArguments, text);
    let Some((major, minor)) = target.split_once('.').filter(|(_, minor)| !minor.contains('.')) else {
        return Err(wrong(format!("wrong target version format, expected \"X.Y\", got {}", go_quoted(target))));
    };
    let number = |part: &str| part.parse::<u64>();
    let (Ok(major), Ok(minor)) = (number(major), number(minor)) else {
        return Err(wrong(format!("failed to parse target version: {target}.0 is not in dotted-tri format")));
    };
    if (major, minor) < (3, 5) {
        return Err(wrong(format!("target version {} not supported. Minimal \"3.5\"", go_quoted(target))));
    }
    let dir = Path::new(given.text("data-dir"));
    check_ours(dir).map_err(|why| Failure::new(Exit::Error, format!("{}: {why}", dir.display())))?;
    if (major, minor) > (3, 7) {
        return Err(Failure::new(Exit::Error, format!("version {target} is not known: the newest is 3.7")));
    }
    tell("nothing to do: the form of the data is the same for every version of etcd's API");
    Ok(())
}
