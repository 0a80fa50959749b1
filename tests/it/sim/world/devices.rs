//! What devices do in a world, and what they are told.

use std::ops::Range;

use crate::base::id::OpId;
use crate::client::PATIENCE;
use crate::client::TRIES;
use crate::client::Wish;
use crate::disk::Place;
use crate::io::Event;
use crate::queue::Us;
use crate::wire::Ended;
use crate::wire::Wanted;
use crate::wire::Word;
use crate::words;
use crate::world::LAST_READS;
use crate::world::World;

/// How long keys are in use before it is the turn of others.
const TURN: Us = 4_000_000;

impl World {
    /// A device's turn: it begins something, or has waited long enough.
    pub(super) fn client_turn(&mut self, client: usize, turn: u64) {
        if self.clients[client].turn != turn {
            return;
        }
        if self.clients[client].doing.is_some() {
            if let Some(doing) = &mut self.clients[client].doing {
                doing.perhaps_done = true;
            }
            return self.try_again(client, "no answer in time");
        }
        let op = OpId(self.next_op);
        self.next_op += 1;
        let keys = self.keys_in_use();
        let mut doing = self.clients[client].wish(&mut self.io.rng, op, keys, self.io.graves);
        let now = self.io.queue.now();
        if self.calm && now > crate::world::ROUGH + LAST_READS {
            // Everything is well for long: each key is read once more.
            match self.last_reads.iter().position(|read| !*read) {
                Some(place) => (doing.place, doing.wish, doing.basis) = (place, Wish::Read, None),
                None => return,
            }
        }
        match doing.wish {
            Wish::Read => doing.began = Some(self.io.reference.read_begins(now, doing.place)),
            Wish::Put | Wish::Delete => {
                let basis = doing.basis.clone().unwrap_or_default();
                self.io.reference.write_begins(now, doing.place, op, &basis, matches!(doing.wish, Wish::Delete));
            }
        }
        self.clients[client].doing = Some(doing);
        self.ask(client);
    }

    /// Where graves go, keys are in use by turns, and left alone in between.
    fn keys_in_use(&self) -> Range<usize> {
        let (all, now) = (self.io.partition_of.len(), self.io.queue.now());
        if !self.io.graves {
            return 0..all;
        }
        let (third, turn) = (all / 3, usize::try_from(now / TURN % 3).unwrap_or(0));
        turn * third..(turn + 1) * third
    }

    /// Sends what a device is doing to some node.
    fn ask(&mut self, client: usize) {
        let host = self.io.rng.below(self.nodes.len() as u64) as usize;
        let device = &mut self.clients[client];
        device.turn += 1;
        let turn = device.turn;
        let Some(doing) = &mut device.doing else { return };
        doing.tries += 1;
        let place = Place::try_from(doing.place).unwrap_or_default();
        let word = match doing.wish {
            Wish::Read => Word::Read { client, turn, place, all: false },
            Wish::Put | Wish::Delete => {
                let delete = matches!(doing.wish, Wish::Delete);
                let wanted = Wanted { place, op: doing.op, keyed: doing.keyed, basis: doing.basis.clone(), delete };
                Word::Write { client, turn, wanted: Box::new(wanted) }
            }
        };
        let text = format!("c{client} asks n{}: {:?} k{} {:?}", host + 1, doing.wish, doing.place, doing.op);
        self.io.trace(|| text);
        let here = self.nodes.len() + client;
        if self.io.lives[host].1 {
            let life = self.io.lives[host].0;
            let delay = self.io.rng.within(50, 500);
            self.io.queue.after(delay, Event::Word { to: host, life, word });
            self.io.queue.after(PATIENCE, Event::Client { client, turn });
        } else {
            // The machine refuses the connection.
            let ended = Ended::Failed("not there".to_owned());
            self.io.queue.after(500, Event::Word { to: here, life: 0, word: Word::Became { turn, ended } });
        }
    }

    /// An answer did not come, or was no good.
    fn try_again(&mut self, client: usize, why: &str) {
        self.io.trace(|| format!("c{client}: {why}"));
        let Some(doing) = &self.clients[client].doing else { return };
        // What may have been done is asked for again only under its name.
        if doing.tries >= TRIES || doing.perhaps_done && !doing.keyed && !matches!(doing.wish, Wish::Read) {
            return self.done(client);
        }
        self.ask(client);
    }

    /// On to something else, after a while.
    fn done(&mut self, client: usize) {
        let device = &mut self.clients[client];
        device.doing = None;
        device.turn += 1;
        let (turn, pause) = (device.turn, device.pause);
        let delay: Us = self.io.rng.within(1, 2 * pause);
        self.io.queue.after(delay, Event::Client { client, turn });
    }

    /// A device gets an answer.
    pub(super) fn client_word(&mut self, client: usize, word: Word) {
        let now = self.io.queue.now();
        let (turn, device) = (word.turn(), &mut self.clients[client]);
        let Some(doing) = device.doing.clone().filter(|_| Some(device.turn) == turn) else { return };
        match word {
            Word::Found { found: Ok(found), .. } => {
                let Some(began) = &doing.began else { return };
                let checked = self.io.reference.read_ends(now, doing.place, began, found.as_deref());
                self.io.trace(|| format!("c{client} found k{} {}", doing.place, words::object(found.as_deref())));
                self.io.check(checked);
                self.clients[client].seen[doing.place] = found.map(|object| object.context.clone());
                if self.calm && now > crate::world::ROUGH + LAST_READS {
                    self.last_reads[doing.place] = true;
                }
                self.done(client);
            }
            Word::Found { found: Err(why), .. } => self.try_again(client, &why),
            Word::Became { ended: Ended::Ok(context), .. } => {
                let checked = self.io.reference.write_acked(now, doing.place, doing.op);
                self.io.check(checked);
                self.io.trace(|| format!("c{client}: {:?} is done", doing.op));
                self.acked += 1;
                self.clients[client].seen[doing.place] = Some(context);
                self.done(client);
            }
            Word::Became { ended: Ended::Failed(why), .. } => {
                // Often a device takes the first no for an answer.
                let last = doing.tries >= TRIES || self.io.rng.chance(333_333);
                if last && !doing.perhaps_done && why != "not there" {
                    let checked = self.io.reference.write_failed(doing.place, doing.op);
                    self.io.check(checked);
                    return self.done(client);
                }
                self.try_again(client, &why);
            }
            Word::Became { ended: Ended::Unknown(why), .. } => {
                if let Some(doing) = &mut self.clients[client].doing {
                    doing.perhaps_done = true;
                }
                self.try_again(client, &why);
            }
            _ => {}
        }
    }
}
