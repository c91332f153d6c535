//! Generated protobuf messages of the client API, of the raft entry payload and of traces. No logic.
//!
//! Written by `cargo run -p wiregen` from `proto/`; field numbers and names are etcd's published interface.
//! Service stubs stand apart, behind feature `rpc`, because the rooms below the network porch use the
//! messages and know nothing of gRPC.

#![allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]

pub mod mvccpb {
    include!("generated/mvccpb.rs");
}

pub mod authpb {
    include!("generated/authpb.rs");
}

pub mod membershippb {
    include!("generated/membershippb.rs");
}

pub mod etcdserverpb {
    include!("generated/etcdserverpb.rs");
}

pub mod v3lockpb {
    include!("generated/v3lockpb.rs");
}

pub mod v3electionpb {
    include!("generated/v3electionpb.rs");
}

/// What a collector of OpenTelemetry is told of spans.
#[cfg(feature = "server")]
pub mod otlp {
    include!("generated/opentelemetry.proto.collector.trace.v1.rs");
}

/// Every message and method of the client API as an encoded `FileDescriptorSet`.
#[cfg(feature = "server")]
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/descriptors.bin");

/// The collector's service.
#[cfg(feature = "server")]
pub mod trace_service {
    include!("generated/services/opentelemetry.proto.collector.trace.v1.rs");
}

/// Service stubs: traits for the server side, typed calls for the client side.
#[cfg(feature = "rpc")]
pub mod services {
    include!("generated/services/etcdserverpb.rs");
}
