//! What time brings in a script: windows that close, calls that are late, parks and questions that expire (BRIDGE 3.3, 6.8).

use super::ledger::{Got, Reply, Seen};
use super::scripts::{Holder, World};
use super::*;

impl World {
    pub(super) fn wait(&mut self, time: Duration) {
        let routed = self.ledger.bench.after(time);
        let now = self.ledger.bench.now;
        let mut expected = Seen::default();
        let (mut is_stuck, mut late) = (false, Vec::new());
        for (stream, http) in self.ledger.streams.iter().filter(|(_, http)| http.is_open) {
            let call = self.number(http.mark).map(|number| &self.ledger.child[&number]).expect("it works");
            if self.ledger.clients[http.mark].is_leased {
                continue;
            }
            if now - call.alive >= PATIENCE.request || now - call.began >= PATIENCE.hard {
                expected.answers.push((*stream, Got::Error(-32603)));
                expected.cancelled.push(http.mark);
                late.push(http.mark);
            } else {
                is_stuck |= now - call.alive >= Duration::from_secs(2);
            }
        }
        late.into_iter().for_each(|mark| self.haunts(mark));
        self.ghosts.retain(|(_, since)| now - *since < PATIENCE.grace);
        let patience = Duration::from_secs(if is_stuck { 2 } else { 30 });
        let (kept, expired): (Vec<u64>, Vec<u64>) =
            self.strays.iter().partition(|id| now - self.ledger.questions[*id].at < patience);
        self.strays = kept;
        expected.replies.extend(expired.into_iter().map(|id| (id, Reply::Refused(-32603))));
        let (kept, expired): (Vec<_>, Vec<_>) = self.elsewhere.iter().partition(|(_, since)| now - *since < PATIENCE.park);
        self.elsewhere = kept;
        for (mark, _) in expired {
            let spent = self.coming_back(mark, "{}");
            self.spent.push(spent);
            self.ledger.clients[mark].has_left = true;
        }
        let alarm = self.holder_waited(now, &mut expected);
        self.saw(routed, expected);
        assert_eq!(self.ledger.alarm, alarm, "{:?}", self.holder);
    }

    /// What time brings to the holder of the lease; when to look again.
    fn holder_waited(&mut self, now: Instant, expected: &mut Seen) -> Option<Instant> {
        match self.holder.clone() {
            Holder::Waits(mark, Some((first, last))) => {
                let due = (last + Duration::from_millis(25)).min(first + Duration::from_millis(150));
                if now < due {
                    return Some(due);
                }
                expected.answers.push((self.ledger.stream_of(mark).expect("it waits"), Got::Asked(self.open.clone())));
                self.holder = Holder::Parked(mark, now);
            }
            Holder::Waits(mark, None) => {
                let call = &self.ledger.child[&self.number(mark).expect("it works")];
                if now - call.alive >= PATIENCE.request || now - call.began >= PATIENCE.hard {
                    expected.answers.push((self.ledger.stream_of(mark).expect("it waits"), Got::Error(-32603)));
                    expected.cancelled.extend(self.abandoned(mark).cancelled);
                }
            }
            Holder::Parked(_, since) | Holder::Stored(_, since, _) if now - since >= PATIENCE.park => {
                let given_up = self.given_up();
                expected.replies.extend(given_up.replies);
                expected.cancelled.extend(given_up.cancelled);
            }
            Holder::Draining { since, has_place, is_retired: false } if now - since >= PATIENCE.grace => {
                expected.is_retired = true;
                self.holder = Holder::Draining { since, has_place, is_retired: true };
            }
            _ => {}
        }
        None
    }
}
