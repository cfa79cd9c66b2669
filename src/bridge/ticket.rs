//! What stands in a `requestState` of ours: which call of which child it continues, whose, and which round. Sealed, because
//! it passes through the client (2026-07-28, Multi Round-Trip Requests, Server Requirements, 4 and 5). Its expiry and its
//! single use are kept by the child's lease, not by the text.

use crate::seal::Seal;

/// How a call goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It waits in its child for answers.
    Park = 1,
    /// It has ended and is to be sent again once its user has been somewhere.
    Resend = 2,
    /// The child keeps its own state, which is `rest`.
    Pass = 3,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) kind: Kind,
    pub(crate) replica: u64,
    /// The child: a number that no other child of this process ever has.
    pub(crate) slot: u64,
    pub(crate) lease: u64,
    pub(crate) round: u32,
    pub(crate) principal: [u8; 32],
    pub(crate) digest: [u8; 32],
    pub(crate) rest: Vec<u8>,
}

impl Ticket {
    pub(crate) fn seal(&self, seal: &Seal, context: &[u8]) -> String {
        let mut plain = vec![self.kind as u8];
        plain.extend_from_slice(&self.replica.to_be_bytes());
        plain.extend_from_slice(&self.slot.to_be_bytes());
        plain.extend_from_slice(&self.lease.to_be_bytes());
        plain.extend_from_slice(&self.round.to_be_bytes());
        plain.extend_from_slice(&self.principal);
        plain.extend_from_slice(&self.digest);
        plain.extend_from_slice(&self.rest);
        seal.close(context, &plain)
    }

    /// `None` for anything that was not sealed here.
    pub(crate) fn open(seal: &Seal, context: &[u8], sealed: &str) -> Option<Ticket> {
        let plain = seal.open(context, sealed)?;
        let mut rest = plain.as_slice();
        let kind = match take::<1>(&mut rest)? {
            [1] => Kind::Park,
            [2] => Kind::Resend,
            [3] => Kind::Pass,
            _ => return None,
        };
        Some(Ticket {
            kind,
            replica: u64::from_be_bytes(take(&mut rest)?),
            slot: u64::from_be_bytes(take(&mut rest)?),
            lease: u64::from_be_bytes(take(&mut rest)?),
            round: u32::from_be_bytes(take(&mut rest)?),
            principal: take(&mut rest)?,
            digest: take(&mut rest)?,
            rest: rest.to_vec(),
        })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*first)
}

/// Seals the tickets of one child.
#[derive(Clone)]
pub(crate) struct Sealer {
    pub(crate) seal: std::sync::Arc<Seal>,
    /// The server's name.
    pub(crate) context: &'static str,
    pub(crate) slot: u64,
    pub(crate) principal: [u8; 32],
}

impl Sealer {
    pub(crate) fn seal(&self, kind: Kind, lease: u64, round: u32, digest: [u8; 32], rest: &[u8]) -> String {
        let ticket = Ticket {
            kind,
            replica: self.seal.replica(),
            slot: self.slot,
            lease,
            round,
            principal: self.principal,
            digest,
            rest: rest.to_vec(),
        };
        ticket.seal(&self.seal, self.context.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_opens_as_it_was_and_not_elsewhere() {
        let seal = Seal::random(None).expect("randomness");
        for kind in [Kind::Park, Kind::Resend, Kind::Pass] {
            let ticket = Ticket {
                kind,
                replica: seal.replica(),
                slot: 3,
                lease: u64::MAX,
                round: 9,
                principal: [1; 32],
                digest: [2; 32],
                rest: b"\"theirs\"".to_vec(),
            };
            let sealed = ticket.seal(&seal, b"default");
            assert_eq!(Ticket::open(&seal, b"default", &sealed), Some(ticket));
            assert_eq!(Ticket::open(&seal, b"other", &sealed), None);
            assert_eq!(Ticket::open(&seal, b"default", &format!("{sealed}x")), None);
        }
        assert_eq!(Ticket::open(&seal, b"default", &seal.close(b"default", b"short")), None);
    }
}
