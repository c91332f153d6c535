//! What a client sends on a stream, and the gRPC library's words about messages it does not take, in etcd's terms.
//!
//! Invariant: every message received is counted once. Does not know what the methods do.

use tonic::{Code, Status, Streaming};

use crate::api::methods::Rpc;
use crate::api::porch::Porch;
use crate::api::status::status_of;
use crate::base::Refusal;
use crate::env::Env;

/// The next message of a client's stream, counted; `None` when the client's side ended in order.
pub async fn received<E: Env, Q>(porch: &Porch<E>, rpc: Rpc, inbound: &mut Streaming<Q>) -> Result<Option<Q>, Status> {
    let message = inbound.message().await.map_err(as_etcd)?;
    if message.is_some() {
        porch.metrics.rpc(rpc).received.inc();
    }
    Ok(message)
}

/// What the library says about a message it does not take, in etcd's terms: too large is the client's
/// resources exhausted, transactions nested too deep are too many operations, a message cut off is an end of file.
pub fn as_etcd(status: Status) -> Status {
    let text = status.message();
    if status.code() == Code::OutOfRange && text.contains("message length too large") {
        let mut numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|word| !word.is_empty());
        let (found, limit) = (numbers.next().unwrap_or("?"), numbers.next().unwrap_or("?"));
        return Status::resource_exhausted(format!("grpc: received message larger than max ({found} vs. {limit})"));
    }
    if text.starts_with("Error decompressing: ") {
        return not_decompressed(status.code(), text);
    }
    if text.contains("recursion limit reached") && text.contains("TxnRequest") {
        return status_of(&Refusal::TooManyOps);
    }
    if status.code() == Code::Internal && text == "Missing request message." {
        return Status::unknown("EOF");
    }
    if status.code() == Code::Internal && text == "Unexpected EOF decoding stream." {
        return Status::unknown("unexpected EOF");
    }
    status
}

/// A compressed message that is not taken: one that holds too much, or is none.
fn not_decompressed(code: Code, text: &str) -> Status {
    if code == Code::ResourceExhausted {
        let limit = text.split(|c: char| !c.is_ascii_digit()).find(|word| !word.is_empty()).unwrap_or("?");
        return Status::resource_exhausted(format!(
            "grpc: received message after decompression larger than max {limit}"
        ));
    }
    let why = text.strip_prefix("Error decompressing: ").unwrap_or(text);
    let why = why.strip_suffix(", while sending request").unwrap_or(why);
    Status::internal(format!("grpc: failed to decompress the message: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_librarys_words_become_etcds() {
        let large =
            Status::out_of_range("Error, decoded message length too large: found 9 bytes, the limit is: 5 bytes");
        let large = as_etcd(large);
        assert_eq!(large.code(), Code::ResourceExhausted);
        assert_eq!(large.message(), "grpc: received message larger than max (9 vs. 5)");
        let bomb = "Error decompressing: size limit, of 5 bytes, exceeded while decompressing message";
        let bomb = as_etcd(Status::resource_exhausted(bomb));
        assert_eq!(bomb.code(), Code::ResourceExhausted);
        assert_eq!(bomb.message(), "grpc: received message after decompression larger than max 5");
        let broken = as_etcd(Status::internal("Error decompressing: invalid gzip header, while sending request"));
        assert_eq!(broken.code(), Code::Internal);
        assert_eq!(broken.message(), "grpc: failed to decompress the message: invalid gzip header");
        let compacted = as_etcd(status_of(&Refusal::Compacted));
        assert_eq!(compacted.code(), Code::OutOfRange, "a refusal of ours stays");
        for (text, code) in [
            ("TxnRequest.success: recursion limit reached", Code::InvalidArgument),
            ("recursion limit reached", Code::Internal),
            ("Missing request message.", Code::Unknown),
            ("Unexpected EOF decoding stream.", Code::Unknown),
        ] {
            assert_eq!(as_etcd(Status::internal(text)).code(), code, "{text}");
        }
    }
}
