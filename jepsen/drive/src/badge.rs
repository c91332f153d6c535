//! What a request shows of who sends it.
//!
//! Does not know users, nor whether what is shown holds.

use tonic::metadata::AsciiMetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// A connection on which every request shows a badge.
pub type Wire = InterceptedService<Channel, Badge>;

/// A field of a request's metadata, or none.
#[derive(Clone, Debug, Default)]
pub struct Badge(Option<(&'static str, AsciiMetadataValue)>);

impl Badge {
    /// Shows `text` under `name`, which is in lower case; nothing where it cannot be sent.
    pub fn new(name: &'static str, text: &str) -> Self {
        Self(text.parse().ok().map(|text| (name, text)))
    }
}

impl Interceptor for Badge {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some((name, text)) = &self.0 {
            request.metadata_mut().insert(*name, text.clone());
        }
        Ok(request)
    }
}
