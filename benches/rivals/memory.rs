//! What sessions and streams hold: resident memory of a contestant while many connections, sessions and streams wait, and what
//! is left when all have gone.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::cost::resident;
use crate::peer::Peer;
use crate::session::{Fault, Place, Session};
use crate::wire::Wire;

/// How long it may take until all are there, and until all have gone.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long memory is given to settle.
const SETTLE: Duration = Duration::from_secs(1);
/// How many of those that come and go are there at a time.
const WAVE: usize = 50;

/// In bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Of the process when the first few have come and gone.
    pub(crate) base: f64,
    /// Of a connection that asked something once.
    pub(crate) connection: f64,
    /// Of a session, beside the connection.
    pub(crate) session: f64,
    /// Of its open stream, beside those.
    pub(crate) stream: f64,
    /// What is left in all when as many sessions with streams have come and gone in waves.
    pub(crate) left: f64,
    /// And when all have gone that were there at a time.
    pub(crate) left_of_crowd: f64,
}

impl Memory {
    /// Of a connection with a session and its stream.
    pub(crate) fn all(&self) -> f64 {
        self.connection + self.session + self.stream
    }
}

/// Measures with so many sessions, in front of two processes of the contestant: what a crowd holds, and what comers and goers
/// leave behind. Says in words why it cannot.
pub(crate) async fn measure(crowded: &Peer, passed: &Peer, count: usize) -> Result<Memory, String> {
    let both = async {
        let memory = crowd(crowded, count).await?;
        Ok(Memory { left: passage(passed, count).await?, ..memory })
    };
    match timeout(PATIENCE, both).await {
        Ok(outcome) => outcome.map_err(|fault: Fault| fault.to_string()),
        Err(_) => Err("hangs".to_owned()),
    }
}

async fn settled(peer: &Peer) -> f64 {
    sleep(SETTLE).await;
    resident(peer.pid())
}

async fn crowd(peer: &Peer, count: usize) -> Result<Memory, Fault> {
    let place = peer.place;
    come_and_go(place, WAVE).await?;
    let base = settled(peer).await;
    let mut wires = connections(place, count).await?;
    let with_connections = settled(peer).await;
    let sessions = open(place, &mut wires).await?;
    let with_sessions = settled(peer).await;
    listen(place, &mut wires, &sessions).await?;
    let with_streams = settled(peer).await;
    drop(wires);
    close(place, sessions).await?;
    sleep(SETTLE).await;
    let left_of_crowd = settled(peer).await - base;
    let each = |later: f64, earlier: f64| (later - earlier) / count as f64;
    Ok(Memory {
        base,
        connection: each(with_connections, base),
        session: each(with_sessions, with_connections),
        stream: each(with_streams, with_sessions),
        left: 0.0,
        left_of_crowd,
    })
}

/// What is left when so many have come and gone in waves, after the first wave.
async fn passage(peer: &Peer, count: usize) -> Result<f64, Fault> {
    come_and_go(peer.place, WAVE).await?;
    let base = settled(peer).await;
    for _ in 0..count.div_ceil(WAVE) {
        come_and_go(peer.place, WAVE).await?;
    }
    sleep(SETTLE).await;
    Ok(settled(peer).await - base)
}

async fn come_and_go(place: Place, count: usize) -> Result<(), Fault> {
    let mut wires = connections(place, count).await?;
    let sessions = open(place, &mut wires).await?;
    listen(place, &mut wires, &sessions).await?;
    drop(wires);
    close(place, sessions).await
}

/// Connections on which something was asked, and refused.
async fn connections(place: Place, count: usize) -> Result<Vec<Wire>, Fault> {
    let mut wires = Vec::new();
    let request = format!("DELETE {} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\ncontent-length: 0\r\n\r\n", place.path, place.port);
    for _ in 0..count {
        let mut wire = Wire::open(place.port).await?;
        wire.ask(request.as_bytes()).await?;
        wires.push(wire);
    }
    Ok(wires)
}

/// A session on each of these connections. Those that were closed meanwhile are opened again.
async fn open(place: Place, wires: &mut [Wire]) -> Result<Vec<Session>, Fault> {
    let mut sessions = Vec::new();
    for wire in wires {
        let session = match Session::open(wire, place).await {
            Err(Fault::Broken) => {
                *wire = Wire::open(place.port).await?;
                Session::open(wire, place).await?
            }
            session => session?,
        };
        sessions.push(session);
    }
    Ok(sessions)
}

/// The stream of each session, on its connection.
async fn listen(place: Place, wires: &mut [Wire], sessions: &[Session]) -> Result<(), Fault> {
    for (session, wire) in sessions.iter().zip(wires) {
        if session.listen(wire).await == Err(Fault::Broken) {
            *wire = Wire::open(place.port).await?;
            session.listen(wire).await?;
        }
    }
    Ok(())
}

async fn close(place: Place, sessions: Vec<Session>) -> Result<(), Fault> {
    for session in sessions {
        // One that closes the connection behind a refusal is not asked why.
        session.close(&mut Wire::open(place.port).await?).await;
    }
    Ok(())
}
