//! Writes `src/wire/generated/` from `proto/`, without protoc.
//!
//! The output is committed, so that building quorate needs neither this tool nor its dependencies.
//! Messages hold `Bytes`, so that a value is shared from the socket on and not copied. Run it from the
//! repository root after a change under `proto/`; its test fails while the two differ.

use std::error::Error;
use std::path::{Path, PathBuf};

const FILES: [&str; 4] = ["kv.proto", "auth.proto", "membership.proto", "rpc.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    generate(&root().join("src/wire/generated"))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn generate(out: &Path) -> Result<(), Box<dyn Error>> {
    let descriptors = protox::compile(FILES, [root().join("proto")])?;
    let mut messages = prost_build::Config::new();
    messages.bytes(["."]).out_dir(out);
    messages.compile_fds(descriptors.clone())?;

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
        .compile_fds(descriptors)?;
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
                assert_eq!(
                    std::fs::read_to_string(file.path())?,
                    std::fs::read_to_string(&committed)?,
                    "{} differs: run `cargo run -p wiregen`",
                    committed.display()
                );
            }
        }
        Ok(())
    }
}
