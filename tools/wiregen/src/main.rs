//! Writes `src/wire/generated/` from `proto/`, without protoc.
//!
//! The output is committed, so that building quorate needs neither this tool nor its dependencies.
//! Messages hold `Bytes`, so that a value is shared from the socket on and not copied. Run it from the
//! repository root after a change under `proto/`; its test fails while the two differ.

use std::error::Error;
use std::path::{Path, PathBuf};

use prost::Message;

const FILES: [&str; 4] = ["kv.proto", "auth.proto", "membership.proto", "rpc.proto"];

/// Services that need no stubs: the porch names their methods itself, and no client of ours calls them.
const WITHOUT_STUBS: [&str; 2] = ["lock.proto", "election.proto"];

/// What a collector of traces is told: not of the client API, so not among the descriptors.
const TRACES: [&str; 1] = ["otlp.proto"];

/// Every message and method as data, for what looks at them by name.
const DESCRIPTORS: &str = "descriptors.bin";

fn main() -> Result<(), Box<dyn Error>> {
    generate(&root().join("src/wire/generated"))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn generate(out: &Path) -> Result<(), Box<dyn Error>> {
    let stubs = protox::compile(FILES, [root().join("proto")])?;
    let mut all = protox::compile(FILES.iter().chain(&WITHOUT_STUBS), [root().join("proto")])?;
    let mut messages = prost_build::Config::new();
    messages.bytes(["."]).out_dir(out);
    messages.compile_fds(all.clone())?;
    for file in &mut all.file {
        file.source_code_info = None;
    }
    std::fs::write(out.join(DESCRIPTORS), all.encode_to_vec())?;

    // Service stubs name the messages written above; they are written apart because the rooms below the
    // network porch use the messages and are built without gRPC.
    let services = out.join("services");
    std::fs::create_dir_all(&services)?;
    tonic_prost_build::configure()
        .out_dir(&services)
        .extern_path(".etcdserverpb", "crate::wire::etcdserverpb")
        .extern_path(".mvccpb", "crate::wire::mvccpb")
        .extern_path(".authpb", "crate::wire::authpb")
        .extern_path(".membershippb", "crate::wire::membershippb")
        .build_transport(false)
        .compile_fds(stubs)?;

    let traces = protox::compile(TRACES, [root().join("proto")])?;
    let mut messages = prost_build::Config::new();
    messages.bytes(["."]).out_dir(out);
    messages.compile_fds(traces.clone())?;
    tonic_prost_build::configure()
        .out_dir(&services)
        .extern_path(".opentelemetry.proto.collector.trace.v1", "crate::wire::otlp")
        .build_transport(false)
        .compile_fds(traces)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_code_is_what_the_protos_give() -> Result<(), Box<dyn Error>> {
        let fresh = tempfile::tempdir()?;
        generate(fresh.path())?;
        for dir in ["", "services"] {
            for file in std::fs::read_dir(fresh.path().join(dir))? {
                let file = file?;
                if file.file_type()?.is_dir() {
                    continue;
                }
                let committed = root().join("src/wire/generated").join(dir).join(file.file_name());
                assert!(
                    std::fs::read(file.path())? == std::fs::read(&committed)?,
                    "{} differs: run `cargo run -p wiregen`",
                    committed.display()
                );
            }
        }
        Ok(())
    }
}
