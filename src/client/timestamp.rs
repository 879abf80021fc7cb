//! Asking a timestamp authority (RFC 3161 §3.4): one POST.

use std::time::Duration;

use super::http::{self, HttpError};
use crate::timestamp::{MAX_TOKEN, Request};

/// The answer of the authority at `url`, unverified: a TimeStampResp in DER.
pub fn ask(url: &str, request: &Request) -> Result<Vec<u8>, HttpError> {
    http::send(http::Request {
        url,
        body: Some(request.der.clone()),
        headers: vec![
            ("content-type", "application/timestamp-query".into()),
            ("accept", "application/timestamp-reply".into()),
        ],
        secrets: Vec::new(),
        limit: MAX_TOKEN as u64,
        timeout: Duration::from_secs(30),
    })
}
