//! Service `grpc.health.v1.Health`. Its messages are small and written by hand from the published protocol.
//!
//! Knows one service, the empty name, which is serving for as long as anything answers at all.

use std::collections::BTreeMap;

use tonic::Status;

use crate::api::transport::pieces::Whole;
use crate::api::transport::streams::Answers;

/// Names the service asked for.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HealthCheckRequest {
    /// The service; empty is the server as a whole.
    #[prost(string, tag = "1")]
    pub service: String,
}

/// How the service does.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HealthCheckResponse {
    /// 0 unknown, 1 serving, 2 not serving, 3 service unknown.
    #[prost(int32, tag = "1")]
    pub status: i32,
}

/// Asks for every service.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HealthListRequest {}

/// How every service does.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HealthListResponse {
    /// By service.
    #[prost(btree_map = "string, message", tag = "1")]
    pub statuses: BTreeMap<String, HealthCheckResponse>,
}

const SERVING: i32 = 1;
const SERVICE_UNKNOWN: i32 = 3;

/// Answers once.
pub fn check(request: &HealthCheckRequest) -> Result<HealthCheckResponse, Status> {
    if request.service.is_empty() {
        Ok(HealthCheckResponse { status: SERVING })
    } else {
        Err(Status::not_found("unknown service"))
    }
}

/// The first and only answer of a watch, which then stays open.
pub fn watch(request: &HealthCheckRequest) -> HealthCheckResponse {
    HealthCheckResponse { status: if request.service.is_empty() { SERVING } else { SERVICE_UNKNOWN } }
}

/// Answers for every service.
pub fn list() -> HealthListResponse {
    let statuses = BTreeMap::from([(String::new(), HealthCheckResponse { status: SERVING })]);
    HealthListResponse { statuses }
}

/// A health watch: one answer, then open until the client goes or the server stops.
pub struct HealthWatch {
    /// The answer, until it is given.
    pub answer: Option<HealthCheckResponse>,
}

impl Answers for HealthWatch {
    type Message = Whole<HealthCheckResponse>;

    async fn next(&mut self) -> Option<Result<Self::Message, Status>> {
        match self.answer.take() {
            Some(answer) => Some(Ok(Whole::from(answer))),
            None => std::future::pending().await,
        }
    }
}
