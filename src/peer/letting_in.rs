//! Who may speak to this member.

use super::answer::Answer;
use super::exchange::Exchange;
use super::greeting::{CLUSTER_ID, DOUBLED, LIFE, check, from_header};
use super::head::RequestHead;
use crate::base::MemberId;
use crate::env::{Clock, Env};

/// Who is asking, if it is one of this cluster; else what to answer.
pub(super) fn let_in<E: Env>(exchange: &Exchange<E>, head: &RequestHead) -> Result<MemberId, Answer> {
    let roster = exchange.door.roster();
    let local = exchange.config.member;
    let with_cluster = |answer: Answer| answer.with(CLUSTER_ID, &roster.cluster.to_string());
    check(&head.headers, local, exchange.config.version, roster.cluster, |text, of| exchange.says(text, of))
        .map_err(|text| with_cluster(Answer::text(412, text)))?;
    let from = from_header(&head.headers).ok_or_else(|| with_cluster(Answer::text(404, "invalid from")))?;
    if roster.removed.contains(&from) {
        if let Some(held_back) = exchange.says("removed", from) {
            tracing::warn!(
                "local-member-id" = %local,
                "remote-peer-id-from" = %from,
                "lines-held-back" = held_back,
                "rejected stream from remote peer because it was removed"
            );
        }
        return Err(with_cluster(Answer::text(410, "removed member")));
    }
    if doubled(exchange, head, from) {
        return Err(with_cluster(Answer::text(412, DOUBLED)));
    }
    Ok(from)
}

/// Whether another process is being heard under the id of who is asking: a copied disk, or a machine cloned.
pub(super) fn doubled<E: Env>(exchange: &Exchange<E>, head: &RequestHead, from: MemberId) -> bool {
    let life = head.headers.get(LIFE).and_then(|life| u64::from_str_radix(life, 16).ok());
    let link = life.zip(exchange.link(from)).filter(|(life, link)| link.has_other_life(*life));
    if let Some((_, link)) = &link
        && link.complains(exchange.env.clock().now())
    {
        tracing::error!(
            "local-member-id" = %exchange.config.member,
            "remote-peer-id-from" = %from,
            "two processes are alive under one member id: the newer one is refused"
        );
    }
    link.is_some()
}
