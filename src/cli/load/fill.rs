//! A value for every device before the run, so that reads find one: one import, written as it is sent.

use std::io;

use futures_util::stream;
use http_body_util::BodyExt;
use http_body_util::StreamBody;
use hyper::Method;
use hyper::body::Bytes;
use hyper::body::Frame;
use indicatif::ProgressBar;
use serde_json::Value;

use crate::base::exit::Exit;
use crate::cli::client::Client;
use crate::cli::client::escape;
use crate::cli::output;
use crate::cli::output::Failure;

/// Rows sent in one piece.
const ROWS_AT_ONCE: u64 = 500;

/// Writes a value of `size` letters for each of `devices` devices.
///
/// # Errors
/// Of the node or the way to it; the devices written so far keep their value.
pub async fn fill(client: &Client, bucket: &str, devices: u64, size: usize) -> Result<(), Failure> {
    let path = format!("/v1/buckets/{}/import?format=ndjson", escape(bucket.as_bytes()));
    let bar = ProgressBar::new(devices);
    output::note(format_args!("filling: one value for each of {devices} devices"));
    let value = "x".repeat(size);
    let counted = bar.clone();
    let pieces = (0..devices).step_by(usize::try_from(ROWS_AT_ONCE).unwrap_or(1)).map(move |first| {
        let rows = first..devices.min(first + ROWS_AT_ONCE);
        counted.set_position(rows.end);
        let rows = rows.map(|device| format!("{{\"key\":\"device-{device}\",\"value\":\"{value}\"}}\n"));
        Ok::<_, io::Error>(Frame::data(Bytes::from(rows.collect::<String>())))
    });
    let body = BodyExt::boxed(StreamBody::new(stream::iter(pieces)));
    let report = client.send(Method::POST, &path, &[], body).await?.json().await;
    bar.finish_and_clear();
    let rejected = report?.get("rejected").and_then(Value::as_u64).unwrap_or(0);
    if rejected > 0 {
        let message = format!("the node rejected {rejected} of {devices} values; the others are stored");
        return Err(Failure::new(Exit::BadData, message));
    }
    Ok(())
}
