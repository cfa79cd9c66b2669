//! What a request carries.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body::Body as _;
use hyper::body::Incoming;

use super::hush;
use super::refusal::Refusal;
use super::wire::{Wire, within_about};

/// How long a body may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The whole body. One that comes in one piece is not copied, any other once.
pub(super) async fn whole(request: &mut Request<Incoming>, max: usize, wire: &Wire) -> Result<Bytes, Refusal> {
    let body = request.body_mut();
    if body.size_hint().lower() > max as u64 {
        return Err(Refusal::BodyTooLarge);
    }
    let read = async {
        let (mut only, mut whole) = (Bytes::new(), Vec::new());
        while !body.is_end_stream() {
            let Some(frame) = poll_fn(|cx| hush::poll_frame(body, cx)).await else { break };
            let Ok(piece) = frame.map_err(|_| Refusal::BodyCut)?.into_data() else { continue };
            if piece.len() > max - only.len() - whole.len() {
                return Err(Refusal::BodyTooLarge);
            }
            if only.is_empty() && whole.is_empty() {
                only = piece;
                continue;
            }
            if whole.is_empty() {
                // Room that is not used yet costs nothing.
                let rest = usize::try_from(body.size_hint().lower()).unwrap_or(max);
                whole.reserve_exact(only.len() + piece.len() + rest);
                whole.extend_from_slice(&std::mem::take(&mut only));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(if whole.is_empty() { only } else { whole.into() })
    };
    within_about(wire, PATIENCE, read).await.unwrap_or(Err(Refusal::BodyTooSlow))
}
