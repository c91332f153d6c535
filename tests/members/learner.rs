//! What a learner says of itself to those who ask whether it can serve.

use http::uri::PathAndQuery;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::cluster::{Member, Process};
use crate::granted::granted;

async fn health(process: &Process) -> Result<(), Status> {
    let mut grpc = tonic::client::Grpc::new(process.channel());
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    grpc.unary(Request::new(()), path, ProstCodec::<(), ()>::default()).await.map(tonic::Response::into_inner)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_is_not_said_to_be_serving() {
    let [voter, learner] = Member::several(["m0", "m1"]);
    let first = voter.start(&[&voter], &[]);
    first.add(&learner, true).await;
    let second = learner.start(&[&voter, &learner], &["--initial-cluster-state=existing"]);
    granted(async || health(&first).await).await;
    let refused = health(&second).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::FailedPrecondition, "etcdserver: rpc not supported for learner")
    );
    let text = learner.ask_client_port("/readyz");
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert!(body.contains("[-]non_learner failed: not supported for learner\n"), "{body}");
    assert!(body.ends_with("\n\n"), "a line end more, as etcd's: {body:?}");
}
