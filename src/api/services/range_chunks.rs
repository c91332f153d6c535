//! RangeStream: a range answered in chunks.
//!
//! Invariants: all chunks are of one revision, fixed by the first; between chunks nothing is held, so that a
//! client that never reads costs nothing (compaction may then end its stream); chunks follow etcd's sizes.

use bytes::{BufMut, BytesMut};
use tonic::Status;

use crate::api::porch::Porch;
use crate::api::services::range_pieces::RangePieces;
use crate::api::services::{answers, kv};
use crate::api::session::Session;
use crate::api::status::status_of;
use crate::api::traces::{OperationSpan, Streamed};
use crate::api::transport::streams::Answers;
use crate::base::Refusal;
use crate::env::Env;
use crate::machine::codec;
use crate::mvcc::{RangeAnswer, RangeQuery, SortOrder, SortTarget};
use crate::wire::etcdserverpb as pb;

/// Keys in the first chunk, as in etcd.
const FIRST_CHUNK_KEYS: i64 = 10;

/// A range read under way.
pub struct RangeChunks<E: Env> {
    session: Session<E>,
    plan: ChunkPlan,
    span: Option<OperationSpan>,
}

impl<E: Env> RangeChunks<E> {
    /// Begins; nothing is read yet.
    pub fn open(session: Session<E>, request: pb::RangeRequest) -> Result<Self, Refusal> {
        let draft = session.draft(&Streamed(&request));
        let query = codec::range_from_wire(request)?;
        check(&query)?;
        let plan = ChunkPlan::new(query, session.terms.max_request_bytes);
        Ok(Self { session, plan, span: draft.begin() })
    }

    /// The next chunk; `None` after the last.
    pub async fn next(&mut self) -> Option<Result<pb::RangeStreamResponse, Refusal>> {
        let query = self.plan.next_query()?;
        let chunk = self.chunk(query).await.inspect_err(|_| self.plan.done = true);
        if self.plan.done {
            self.span = None;
        }
        Some(chunk)
    }

    async fn chunk(&mut self, query: RangeQuery) -> Result<pb::RangeStreamResponse, Refusal> {
        // Only the first chunk asks the others where the log stands; the rest read at its revision.
        let linearizable = self.plan.revision.is_none() && !query.serializable;
        let view = self.session.view_of_range(&query, linearizable).await?;
        let answer = kv::read(&view, &query)?;
        Ok(pb::RangeStreamResponse { range_response: Some(self.plan.take(answer, &self.session)) })
    }
}

impl<E: Env> Answers for RangeChunks<E> {
    type Message = RangePieces;

    async fn next(&mut self) -> Option<Result<Self::Message, Status>> {
        let chunk = RangeChunks::next(self).await?;
        Some(chunk.map(RangePieces::from).map_err(|refusal| status_of(&refusal)))
    }
}

/// Only the order of the keys themselves can be streamed, and no filters by revision, as in etcd.
fn check(query: &RangeQuery) -> Result<(), Refusal> {
    let by_key = query.target == SortTarget::Key && query.order == SortOrder::Ascend;
    if query.order != SortOrder::None && !by_key {
        return Err(Refusal::StreamSortUnsupported);
    }
    let filters =
        [query.min_mod_revision, query.max_mod_revision, query.min_create_revision, query.max_create_revision];
    if filters.iter().any(|&filter| filter != 0) {
        return Err(Refusal::StreamFilterUnsupported);
    }
    Ok(())
}

/// What to read next and what was delivered.
struct ChunkPlan {
    query: RangeQuery,
    /// The revision for the header, known from the first chunk on.
    revision: Option<i64>,
    /// Keys in the next chunk.
    chunk_keys: i64,
    /// Keys the client still wants, if it named a limit.
    wanted: Option<i64>,
    delivered: i64,
    target_bytes: usize,
    done: bool,
}

impl ChunkPlan {
    fn new(query: RangeQuery, target_bytes: usize) -> Self {
        let wanted = (query.limit > 0).then_some(query.limit);
        Self { query, revision: None, chunk_keys: FIRST_CHUNK_KEYS, wanted, delivered: 0, target_bytes, done: false }
    }

    /// A negative limit and a count are answered in one piece.
    fn in_one_piece(&self) -> bool {
        self.query.limit < 0 || self.query.count_only
    }

    fn next_query(&self) -> Option<RangeQuery> {
        if self.done {
            return None;
        }
        let mut query = self.query.clone();
        if !self.in_one_piece() {
            query.limit = self.wanted.map_or(self.chunk_keys, |wanted| wanted.min(self.chunk_keys));
        }
        Some(query)
    }

    fn take<E: Env>(&mut self, answer: RangeAnswer, porch: &Porch<E>) -> pb::RangeResponse {
        let (last, mut response) = self.advance(answer);
        if last {
            response.header = Some(porch.header(self.revision.unwrap_or_default()));
        }
        response
    }

    /// Whether the chunk is the last, and the chunk without its header.
    fn advance(&mut self, answer: RangeAnswer) -> (bool, pb::RangeResponse) {
        let revision = *self.revision.get_or_insert(answer.revision);
        if self.query.revision <= 0 {
            self.query.revision = revision;
        }
        let keys = i64::try_from(answer.kvs.len()).unwrap_or(i64::MAX);
        let remaining = answer.count;
        self.wanted = self.wanted.map(|wanted| wanted - keys);
        self.done = self.in_one_piece() || !answer.more || self.wanted == Some(0) || keys == 0;
        // The highest key rather than the last: a chunk may be sorted by another field.
        if let Some(highest) = answer.kvs.iter().map(|kv| &kv.key).max() {
            let mut next = BytesMut::with_capacity(highest.len() + 1);
            next.put_slice(highest);
            next.put_u8(0);
            self.query.range.start = next.freeze();
        }
        let more = answer.more;
        let kvs = answers::key_values(answer.kvs);
        let mut response = pb::RangeResponse { kvs, ..Default::default() };
        if self.done {
            response.more = more;
            response.count = self.delivered + remaining;
        } else {
            use prost::Message;
            self.resize(response.encoded_len());
        }
        self.delivered += keys;
        (self.done, response)
    }

    /// Small chunks let the next one double, large ones halve it.
    fn resize(&mut self, chunk_bytes: usize) {
        if chunk_bytes < self.target_bytes / 2 {
            self.chunk_keys = self.chunk_keys.saturating_mul(2);
        } else if chunk_bytes > self.target_bytes * 2 {
            self.chunk_keys = (self.chunk_keys / 2).max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{KeyRange, KeyValue, RangeEnd};
    use bytes::Bytes;

    /// A store of `keys` keys `k0000`, `k0001`, ... with values of `value` bytes, at revision 50.
    fn answer(query: &RangeQuery, keys: usize, value: usize) -> RangeAnswer {
        let all = (0..keys).map(|n| Bytes::from(format!("k{n:04}"))).filter(|key| query.range.contains(key));
        let kvs: Vec<KeyValue> =
            all.map(|key| KeyValue { key, value: vec![0; value].into(), ..Default::default() }).collect();
        let count = kvs.len() as i64;
        let limit = if query.limit > 0 { query.limit as usize } else { usize::MAX };
        let more = kvs.len() > limit;
        let kvs = if query.count_only { vec![] } else { kvs.into_iter().take(limit).collect() };
        RangeAnswer { kvs, more, count, revision: 50 }
    }

    fn run(query: RangeQuery, keys: usize, value: usize, target: usize) -> Vec<pb::RangeResponse> {
        let mut plan = ChunkPlan::new(query, target);
        let mut chunks = Vec::new();
        while let Some(query) = plan.next_query() {
            let (_, chunk) = plan.advance(answer(&query, keys, value));
            chunks.push(chunk);
        }
        chunks
    }

    fn everything() -> RangeQuery {
        RangeQuery::plain(KeyRange { start: Bytes::from_static(b"k"), end: RangeEnd::Open })
    }

    fn lengths(chunks: &[pb::RangeResponse]) -> Vec<usize> {
        chunks.iter().map(|chunk| chunk.kvs.len()).collect()
    }

    #[test]
    fn only_the_keys_own_order_is_streamed() {
        use SortOrder::{Ascend, Descend, None};
        let table = [
            (None, SortTarget::Key, true),
            (Ascend, SortTarget::Key, true),
            (Descend, SortTarget::Key, false),
            (Ascend, SortTarget::Version, false),
            (None, SortTarget::Mod, true),
        ];
        for (order, target, fine) in table {
            let expected = if fine { Ok(()) } else { Err(Refusal::StreamSortUnsupported) };
            assert_eq!(check(&RangeQuery { order, target, ..everything() }), expected, "{order:?} {target:?}");
        }
        let filtered = RangeQuery { max_create_revision: 1, ..everything() };
        assert_eq!(check(&filtered), Err(Refusal::StreamFilterUnsupported));
    }

    #[test]
    fn chunks_double_while_they_are_small() {
        let chunks = run(everything(), 100, 1, 1 << 20);
        assert_eq!(lengths(&chunks), [10, 20, 40, 30]);
        let last = &chunks[3];
        assert_eq!((last.count, last.more), (100, false));
        assert!(chunks[..3].iter().all(|chunk| chunk.count == 0 && !chunk.more));
        let keys: Vec<&Bytes> = chunks.iter().flat_map(|chunk| &chunk.kvs).map(|kv| &kv.key).collect();
        assert!(keys.is_sorted() && keys.len() == 100);
    }

    #[test]
    fn chunks_halve_when_they_are_large() {
        assert_eq!(lengths(&run(everything(), 20, 1_000, 100)), [10, 5, 2, 1, 1, 1]);
    }

    #[test]
    fn a_limit_counts_across_chunks() {
        let chunks = run(RangeQuery { limit: 25, ..everything() }, 100, 1, 1 << 20);
        assert_eq!(lengths(&chunks), [10, 15]);
        assert_eq!((chunks[1].count, chunks[1].more), (100, true));
    }

    #[test]
    fn counts_and_negative_limits_come_in_one_piece() {
        let chunks = run(RangeQuery { count_only: true, ..everything() }, 100, 1, 1 << 20);
        assert_eq!((lengths(&chunks), chunks[0].count), (vec![0], 100));
        assert_eq!(lengths(&run(RangeQuery { limit: -1, ..everything() }, 100, 1, 1 << 20)), [100]);
        assert_eq!(lengths(&run(everything(), 0, 1, 1 << 20)), [0]);
    }
}
