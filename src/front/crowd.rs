//! Everyone who is connected. When all places are taken, or all of one address, whoever rested longest makes room for the
//! newcomer; when answers need memory, readers that have stopped reading do. Who keeps nobody waiting is never cut.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::base::limits::ANSWER_BYTES_IN_FLIGHT_MAX;
use crate::base::limits::ANSWER_PATIENCE;
use crate::base::limits::ANSWERS_WAITING_MAX;
use crate::base::limits::CONNECTIONS_PER_ADDRESS_MAX;
use crate::base::time;
use crate::front::guest::Guest;

/// Of all connections, the share that makes room at once: choosing them means looking at all.
const LEAVE_AT_ONCE: usize = 64;
/// Readers cut at once for the room that their answers take.
const CUT_AT_ONCE: usize = 8;

/// Where a connection comes from, as one party.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// This machine.
    Loopback,
    /// An IPv4 address.
    V4(u32),
    /// An IPv6 network of 64 bits: what one customer of a provider gets, to change addresses in at will.
    V6(u64),
}

impl Origin {
    /// Of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            address if address.is_loopback() => Self::Loopback,
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
            }
        }
    }

    fn max(self) -> usize {
        if self == Self::Loopback { usize::MAX } else { CONNECTIONS_PER_ADDRESS_MAX }
    }
}

/// All connections of a node's listeners, the control socket's not among them.
#[derive(Clone)]
pub struct Crowd(Arc<Shared>);

struct Shared {
    max: usize,
    places: Arc<Semaphore>,
    seated: Mutex<Seated>,
    answers: Arc<Semaphore>,
    answers_waiting: Semaphore,
}

#[derive(Default)]
struct Seated {
    next: u64,
    by_origin: BTreeMap<Origin, BTreeMap<u64, Arc<Guest>>>,
}

/// A place of a connection, given back when dropped.
pub struct Seat {
    crowd: Crowd,
    origin: Origin,
    number: u64,
    /// Who sits here.
    pub guest: Arc<Guest>,
    _place: OwnedSemaphorePermit,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seated = self.crowd.seated();
        if let Some(guests) = seated.by_origin.get_mut(&self.origin) {
            guests.remove(&self.number);
            if guests.is_empty() {
                seated.by_origin.remove(&self.origin);
            }
        }
    }
}

impl Crowd {
    /// Of at most so many connections.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self(Arc::new(Shared {
            max,
            places: Arc::new(Semaphore::new(max)),
            seated: Mutex::default(),
            answers: Arc::new(Semaphore::new(ANSWER_BYTES_IN_FLIGHT_MAX)),
            answers_waiting: Semaphore::new(ANSWERS_WAITING_MAX),
        }))
    }

    fn seated(&self) -> MutexGuard<'_, Seated> {
        self.0.seated.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a newcomer, made by sending away whoever rested longest where there is none. `None` where everyone
    /// from its address is busy, and there are as many as may be.
    pub async fn seat(&self, address: IpAddr) -> Option<Seat> {
        let origin = Origin::of(address);
        self.make_room_at(origin)?;
        let place = self.place().await?;
        let guest = Arc::new(Guest::new(time::mono()));
        let mut seated = self.seated();
        let number = seated.next;
        seated.next += 1;
        seated.by_origin.entry(origin).or_default().insert(number, Arc::clone(&guest));
        drop(seated);
        Some(Seat { crowd: self.clone(), origin, number, guest, _place: place })
    }

    fn make_room_at(&self, origin: Origin) -> Option<()> {
        let mut seated = self.seated();
        let Some(guests) = seated.by_origin.get_mut(&origin) else { return Some(()) };
        if guests.len() < origin.max() {
            return Some(());
        }
        let idlest = guests.iter().filter_map(|(number, guest)| Some((guest.idle_since()?, *number))).min();
        guests.remove(&idlest?.1)?.send_away();
        Some(())
    }

    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            if let Ok(place) = Arc::clone(&self.0.places).try_acquire_owned() {
                return Some(place);
            }
            self.make_room();
            // They go as soon as they are scheduled; where all were busy, somebody rests before long.
            match timeout(ANSWER_PATIENCE, Arc::clone(&self.0.places).acquire_owned()).await {
                Ok(place) => return place.ok(),
                Err(_elapsed) => {}
            }
        }
    }

    fn make_room(&self) {
        let now = time::mono();
        let mut seated = self.seated();
        let all = seated.by_origin.iter().flat_map(|(origin, guests)| guests.iter().map(|one| (*origin, one)));
        let mut idle: Vec<_> =
            all.filter_map(|(origin, (number, guest))| Some((guest.rests_since(now)?, origin, *number))).collect();
        idle.sort_unstable();
        for (_, origin, number) in idle.into_iter().take(LEAVE_AT_ONCE.min(self.0.max / 10 + 1)) {
            if let Some(guest) = seated.by_origin.get_mut(&origin).and_then(|guests| guests.remove(&number)) {
                guest.send_away();
            }
        }
    }

    /// Room in memory for an answer of so many bytes. Where there is none, the readers that let theirs wait longest are
    /// cut. `None` where that did not help in time.
    pub async fn room_for(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes.min(ANSWER_BYTES_IN_FLIGHT_MAX)).unwrap_or(u32::MAX);
        if let Ok(room) = Arc::clone(&self.0.answers).try_acquire_many_owned(bytes) {
            return Some(room);
        }
        let _waiting = self.0.answers_waiting.try_acquire().ok()?;
        for _patience in 0..4 {
            self.cut_the_slowest();
            let room = Arc::clone(&self.0.answers).acquire_many_owned(bytes);
            match timeout(ANSWER_PATIENCE / 2, room).await {
                Ok(room) => return room.ok(),
                Err(_elapsed) => {}
            }
        }
        None
    }

    fn cut_the_slowest(&self) {
        let now = time::mono();
        let seated = self.seated();
        let guests = seated.by_origin.values().flat_map(BTreeMap::values);
        let mut slow: Vec<_> = guests.filter_map(|guest| Some((guest.stalls_since(now)?, guest))).collect();
        slow.sort_unstable_by_key(|(since, _)| *since);
        slow.into_iter().take(CUT_AT_ONCE).for_each(|(_, guest)| guest.send_away());
    }

    /// Returns when nobody is here any more and nobody can come.
    pub async fn emptied(&self) {
        let all = u32::try_from(self.0.max).unwrap_or(u32::MAX);
        let _all = self.0.places.acquire_many(all).await;
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::Crowd;
    use super::Origin;
    use crate::base::limits::ANSWER_BYTES_IN_FLIGHT_MAX;
    use crate::base::limits::CONNECTIONS_PER_ADDRESS_MAX;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_one_party_and_so_is_a_network_of_ipv6() {
        let same = |a: &str, b: &str| Origin::of(address(a)) == Origin::of(address(b));
        assert!(same("192.0.2.1", "::ffff:192.0.2.1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
        assert!(same("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"));
        assert!(!same("2001:db8:1:2::1", "2001:db8:1:3::1"));
        for local in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(Origin::of(address(local)), Origin::Loopback, "{local}");
        }
    }

    #[tokio::test]
    async fn past_its_share_an_address_makes_room_among_its_own() {
        let crowd = Crowd::new(CONNECTIONS_PER_ADDRESS_MAX + 10);
        let other = crowd.seat(address("192.0.2.9")).await.unwrap();
        let mut seats = Vec::new();
        for _ in 0..CONNECTIONS_PER_ADDRESS_MAX {
            seats.push(crowd.seat(address("192.0.2.1")).await.unwrap());
        }
        // The first is busy, so it is the second that goes.
        let _busy = seats[0].guest.begin();
        let _newcomer = crowd.seat(address("192.0.2.1")).await.unwrap();
        let gone = |at: usize| seats[at].guest.is_sent_away();
        assert_eq!((gone(0), gone(1), gone(2)), (false, true, false));
        assert!(!other.guest.is_sent_away());
    }

    #[tokio::test]
    async fn an_address_whose_connections_are_all_busy_gets_no_more() {
        let crowd = Crowd::new(CONNECTIONS_PER_ADDRESS_MAX + 10);
        let mut seats = Vec::new();
        for _ in 0..CONNECTIONS_PER_ADDRESS_MAX {
            let seat = crowd.seat(address("2001:db8::1")).await.unwrap();
            seats.push((seat.guest.begin(), seat));
        }
        assert!(crowd.seat(address("2001:db8::2")).await.is_none(), "of the same network");
        assert!(crowd.seat(address("192.0.2.1")).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn in_a_full_house_the_idlest_makes_room_and_leaves_at_once() {
        let crowd = Crowd::new(20);
        let mut seats = Vec::new();
        for _ in 0..20 {
            seats.push(crowd.seat(address("127.0.0.1")).await.unwrap());
        }
        let busy = seats[0].guest.begin();
        let idlest = seats.remove(1);
        let leaving = async {
            idlest.guest.overstayed().await;
            drop(idlest);
        };
        let (_left, newcomer) = tokio::join!(leaving, crowd.seat(address("127.0.0.1")));
        assert!(newcomer.is_some());
        assert!(!seats[0].guest.is_sent_away());
        drop((busy, newcomer, seats));
        crowd.emptied().await;
    }

    #[tokio::test]
    async fn an_answer_without_room_cuts_the_reader_that_let_its_own_wait() {
        let crowd = Crowd::new(20);
        let seat = crowd.seat(address("127.0.0.1")).await.unwrap();
        let quick = crowd.seat(address("127.0.0.1")).await.unwrap();
        let slow = seat.guest.begin();
        let _asked = quick.guest.begin();
        let all = crowd.room_for(ANSWER_BYTES_IN_FLIGHT_MAX).await.unwrap();
        slow.hand_out(1);
        let cut = async {
            seat.guest.overstayed().await;
            drop(all);
        };
        let ((), room) = tokio::join!(cut, crowd.room_for(20_000));
        assert!(room.is_some() && !quick.guest.is_sent_away());
    }
}
