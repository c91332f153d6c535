//! Runs a program against a freshly started server: the shape of every foreign-client examination.
//!
//! Invariant: the server is gone when this returns. Does not know what the program does.

use std::path::PathBuf;
use std::time::Duration;

use tokio::process::Command;

use crate::process::{Launch, Trouble, fresh_home};

/// Options of a foreign program's run.
#[derive(clap::Args, Clone, Debug)]
pub struct ServeArgs {
    /// The server binary.
    #[arg(long)]
    bin: PathBuf,
    /// Flag for the server; may be given several times.
    #[arg(long = "flag", allow_hyphen_values = true)]
    flags: Vec<String>,
    /// Where the data directory goes; the system's temporary directory by default.
    #[arg(long)]
    base: Option<PathBuf>,
    /// The program and its arguments; `{}` stands for the server's host:port.
    #[arg(last = true, required = true)]
    program: Vec<String>,
}

/// Starts the server, runs the program, stops the server; true when the program succeeded.
pub async fn run(args: ServeArgs) -> Result<bool, Trouble> {
    let home = fresh_home(args.base.as_deref(), "serve")?;
    let launch = Launch::new(&args.bin, &home, &args.flags)?;
    let mut server = launch.start()?;
    server.ready(Duration::from_secs(180)).await?;
    let words: Vec<String> = args.program.iter().map(|word| word.replace("{}", &launch.address())).collect();
    let status = Command::new(&words[0]).args(&words[1..]).kill_on_drop(true).status().await?;
    let lives = server.is_alive();
    server.kill().await?;
    if status.success() && lives {
        std::fs::remove_dir_all(&home)?;
    } else {
        println!(
            "serve: program {status}, server {}; log in {}",
            if lives { "alive" } else { "ended" },
            home.display()
        );
    }
    Ok(status.success() && lives)
}
