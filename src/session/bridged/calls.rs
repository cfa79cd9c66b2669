//! A client's requests on their way to whoever answers them. One task a call, from the beginning: a call that is cancelled, or whose
//! session ends, is stopped wherever it is, also while its child is still being started.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::modern::Asked;
use super::shared::Shared;
use super::{Backend, Bridged, LOST, Way};
use crate::link::reader::Reader;
use crate::link::{EndReason, NotPosted};
use crate::pool::{NoChild, NotTaken};
use crate::protocol::jsonrpc::{Envelope, Kind};
use crate::session::Terms;

/// How a request whose answer shares its stream is refused: the message.
pub(crate) type Refuse = Arc<dyn Fn(NotTaken, &[u8]) -> Vec<u8> + Send + Sync>;

/// What has become of a request that was taken.
pub(super) enum Sent {
    Answered,
    /// A subscription is to be changed: to hear of that resource, or no more.
    Subscription(String, bool),
    Modern(Box<Asked>),
    Shared(Box<Shared>),
}

impl Bridged {
    /// A request; the reader gets what comes of it, where it has a stream of its own.
    pub(crate) async fn call(
        self: &Arc<Self>,
        text: &Bytes,
        envelope: &Envelope,
        Terms { way, carries, cut, counted }: Terms,
        refuse: &Refuse,
    ) -> Result<Option<Reader>, NotTaken> {
        let id = envelope.id.map_or(&b"null"[..], |id| id.of(text));
        let (call, cursor) = self.with(|seat, _| {
            let now = Instant::now();
            seat.admit(1, now)?;
            let begun = seat.begin(id, way, carries, cut, now);
            seat.count(begun.0, &counted);
            Ok::<_, NotPosted>(begun)
        })?;
        let reader = cursor.map(|cursor| Reader::new(self.arc(), cursor));
        self.start(call, text.clone(), *envelope, refuse).await?;
        Ok(reader)
    }

    /// Messages that came together (2025-03-26, Transports, Sending Messages to the Server): the reader gets the answers.
    pub(crate) fn batch(
        self: &Arc<Self>,
        items: &[(Bytes, Envelope)],
        Terms { carries, cut, counted, .. }: Terms,
        refuse: &Refuse,
    ) -> Result<Option<Reader>, NotTaken> {
        let id = |text: &Bytes, envelope: &Envelope| envelope.id.map_or_else(|| b"null".to_vec(), |id| id.of(text).to_vec());
        let requests = items.iter().filter(|(_, envelope)| envelope.kind == Kind::Request).count();
        let (cursor, items) = self.with(|seat, _| {
            let now = Instant::now();
            seat.admit(requests, now)?;
            let cursor = (requests > 0).then(|| seat.log.open(b"null", cut, now));
            let way = cursor.as_ref().map_or(Way::Standing, |cursor| Way::Batch(cursor.stream));
            let mut begin = |(text, envelope): &(Bytes, Envelope)| {
                let call = (envelope.kind == Kind::Request).then(|| seat.begin(&id(text, envelope), way, carries, None, now).0);
                call.into_iter().for_each(|call| seat.count(call, &counted));
                (call, text.clone(), *envelope)
            };
            let items: Vec<(Option<u64>, Bytes, Envelope)> = items.iter().map(&mut begin).collect();
            Ok::<_, NotPosted>((cursor, items))
        })?;
        let reader = cursor.map(|cursor| Reader::new(self.arc(), cursor));
        let (session, refuse) = (Arc::clone(self), Arc::clone(refuse));
        // In their order, whether or not their client waits; ends when the last is taken.
        drop(tokio::spawn(async move {
            for (call, text, envelope) in items {
                match call {
                    // Refused, it is answered.
                    Some(call) => drop(session.start(call, text, envelope, &refuse).await),
                    None => drop(session.tell(&text, &envelope)),
                }
            }
        }));
        Ok(reader)
    }

    /// Begins to work on a call, and waits until somebody has it. One that is over meanwhile has its answer. One with a stream of its
    /// own that nobody takes is as if it had not been.
    async fn start(self: &Arc<Self>, call: u64, text: Bytes, envelope: Envelope, refuse: &Refuse) -> Result<(), NotTaken> {
        let (taken, outcome) = oneshot::channel();
        {
            let mut seat = self.lock();
            if !seat.is_open(call) {
                return Ok(()); // cancelled before its turn
            }
            let task = tokio::spawn(Arc::clone(self).run(call, text, envelope, Arc::clone(refuse), taken));
            seat.assign(call, task.abort_handle());
        }
        outcome.await.unwrap_or(Ok(()))
    }

    /// Works on a call until it is answered. Who waits for it to be taken may have gone.
    async fn run(
        self: Arc<Self>,
        call: u64,
        text: Bytes,
        envelope: Envelope,
        refuse: Refuse,
        taken: oneshot::Sender<Result<(), NotTaken>>,
    ) {
        let id = envelope.id.map_or(&b"null"[..], |id| id.of(&text));
        let sent = match self.backend {
            Backend::Modern => self.send_modern(call, &text, &envelope).await,
            Backend::Legacy(revision) => self.send_shared(call, &text, &envelope, revision).await,
        };
        match sent {
            Err(NotTaken::NotPosted(NotPosted::Ended) | NotTaken::ChildLost) => {
                self.fail(call, id, LOST);
                let _ = taken.send(Ok(()));
            }
            Err(why) => {
                if matches!(why, NotTaken::NoChild(NoChild::OtherEra(_))) {
                    self.end(EndReason::EraChanged); // the client opens another, in front of what the server is now
                }
                let outcome = if self.with(|seat, effects| seat.take_back(call, effects)) {
                    Err(why)
                } else {
                    self.answer(call, refuse(why, id));
                    Ok(())
                };
                let _ = taken.send(outcome);
            }
            Ok(sent) => {
                let _ = taken.send(Ok(()));
                match sent {
                    Sent::Answered => {}
                    Sent::Subscription(uri, is_wanted) => {
                        let answer = self.subscribe(id, uri, is_wanted).await;
                        self.answer(call, answer);
                    }
                    Sent::Modern(asked) => self.work(*asked).await,
                    Sent::Shared(shared) => self.follow(*shared).await,
                }
            }
        }
    }
}
