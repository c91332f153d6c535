//! The examiner: real server processes, judged from outside.
//!
//! Each command is one examination; the exit code is 0 when it was passed, 1 when not, 2 when it could not be held. See
//! `jepsen/README.md`. Knows only the client API, the command line and the process.

mod badge;
mod bench;
mod cluster;
mod kill9;
mod ledger;
mod process;
mod rawwire;
mod serve;
mod sides;
mod twin;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser, Debug)]
#[command(about = "Examines etcd-compatible servers as real processes")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// The same random requests to two servers; every answer must be equal.
    Twin(Box<twin::TwinArgs>),
    /// kill -9 under load, again and again; no acknowledged write may be lost.
    Kill9(kill9::Kill9Args),
    /// A cluster under mishaps; no acknowledged write may be lost, no two members may differ.
    Cluster(cluster::ClusterArgs),
    /// Time without a put after a mishap of a cluster, again and again.
    Gap(cluster::GapArgs),
    /// A leader whose disk answers nothing for a while.
    Freeze(cluster::FreezeArgs),
    /// Put latency and memory of a leader that feeds a member its whole state.
    CatchUp(bench::CatchUpArgs),
    /// Backups of servers in turns: their rate, their processor time, and what they cost the puts meanwhile.
    Backup(bench::BackupArgs),
    /// Fixed walks to two servers: fragments, many events at once, a full quota.
    Edges(twin::EdgesArgs),
    /// Hand-made bad frames to two servers.
    Rawwire(rawwire::RawArgs),
    /// A program of someone else's against a fresh server.
    Serve(serve::ServeArgs),
    /// Two servers under the same load, in turns.
    Bench(bench::BenchArgs),
    /// What tokens and encryption cost two servers, in turns.
    BenchGuarded(bench::BenchGuardedArgs),
    /// Two clusters under the same load, in turns.
    BenchCluster(bench::BenchClusterArgs),
    /// More puts than a server can carry out, offered at a fixed rate whatever becomes of them.
    Overload(bench::OverloadArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Args::parse().command {
        Command::Twin(args) => twin::run(*args).await,
        Command::Kill9(args) => kill9::run(args).await,
        Command::Cluster(args) => cluster::run(args).await,
        Command::Gap(args) => cluster::run_gap(args).await,
        Command::Freeze(args) => cluster::run_freeze(args).await,
        Command::CatchUp(args) => bench::run_catch_up(args).await,
        Command::Backup(args) => bench::run_backup(args).await,
        Command::Edges(args) => twin::run_edges(args).await,
        Command::Rawwire(args) => rawwire::run(args).await,
        Command::Serve(args) => serve::run(args).await,
        Command::Bench(args) => bench::run(args).await,
        Command::BenchGuarded(args) => bench::run_guarded(args).await,
        Command::BenchCluster(args) => bench::run_cluster(args).await,
        Command::Overload(args) => bench::run_overload(args).await,
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(why) => {
            eprintln!("could not be held: {why}");
            ExitCode::from(2)
        }
    }
}
