//! Pages that a member serves beside its API, as `/metrics`, by the same encrypted connections.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use tonic::Code;
use tonic::body::Body;
use tower_service::Service as _;

use super::connection::Client;
use super::error::{Error, reason};

/// Longest wait for a page where the client has no timeout of its own, and its largest size.
const PAGE_WITHIN: Duration = Duration::from_secs(10);
const PAGE_BYTES: usize = 64 * 1024 * 1024;

impl Client {
    /// Fetches a page of the endpoint at this place in the list. Over TLS alone: without it the port of etcd's clients
    /// takes pages by HTTP/1.1, and this asks by HTTP/2.
    ///
    /// # Errors
    /// There is no such place ([`Error::BadEndpoint`]), or the page cannot be had: the text says why.
    pub async fn page(&self, place: usize, path: &str) -> Result<Bytes, Error> {
        let timeout = self.timeout().unwrap_or(PAGE_WITHIN);
        tokio::time::timeout(timeout, self.fetch(place, path)).await.unwrap_or(Err(Error::Deadline))
    }

    async fn fetch(&self, place: usize, path: &str) -> Result<Bytes, Error> {
        let failed = |why: String| Error::Answered(Code::Unavailable, why);
        let Some((_, mut channel)) = self.raw().get(place).cloned() else {
            return Err(Error::BadEndpoint(format!("there is no endpoint {place} of {}", self.raw().len())));
        };
        let request = Request::builder().method(Method::GET).uri(path).body(Body::empty());
        let request = request.map_err(|error| failed(error.to_string()))?;
        let said = |error: tonic::transport::Error| failed(reason(&tonic::Status::from_error(Box::new(error))));
        std::future::poll_fn(|context| channel.poll_ready(context)).await.map_err(said)?;
        let answer = channel.call(request).await.map_err(said)?;
        if answer.status() != StatusCode::OK {
            return Err(failed(format!("{path} answered {}", answer.status().as_u16())));
        }
        let page = Limited::new(answer.into_body(), PAGE_BYTES).collect().await;
        Ok(page.map_err(|error| failed(error.to_string()))?.to_bytes())
    }
}
