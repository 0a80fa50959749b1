//! The twin of journal and index: records become durable in groups, in order, some time after they were submitted; a
//! crash loses every group that was not synced, or has just written the last one unseen.

use std::cell::Cell;
use std::sync::Arc;

use crate::proto::object::Object;

/// A key of this world by its number.
pub type Place = u16;

/// What is written.
#[derive(Debug, Clone)]
pub enum Record {
    /// A place holds this now.
    Object(Place, Arc<Object>),
    /// A place is empty.
    Forgotten(Place),
    /// Nothing: when it is durable, so is what was before.
    Barrier,
}

/// What records lead to.
#[derive(Debug, Clone, Default)]
pub struct Content {
    /// By place.
    pub objects: Vec<Option<Arc<Object>>>,
    /// Their fingerprints, as far as somebody wanted to know them.
    prints: Vec<Cell<Option<u64>>>,
}

impl Content {
    /// The fingerprint of what is at a place.
    pub fn print(&self, place: usize) -> Option<u64> {
        let object = self.objects[place].as_ref()?;
        if self.prints[place].get().is_none() {
            self.prints[place].set(Some(object.fingerprint()));
        }
        self.prints[place].get()
    }

    fn apply(&mut self, record: &Record) {
        if let Record::Object(place, _) | Record::Forgotten(place) = record {
            self.prints[usize::from(*place)].set(None);
        }
        match record {
            Record::Object(place, object) => self.objects[usize::from(*place)] = Some(Arc::clone(object)),
            Record::Forgotten(place) => self.objects[usize::from(*place)] = None,
            Record::Barrier => {}
        }
    }
}

/// The disk of one machine.
pub struct Disk {
    /// What a power cut leaves.
    pub durable: Content,
    /// What the running process goes by.
    pub newest: Content,
    writing: Vec<Record>,
    waiting: Vec<Record>,
    /// Records submitted.
    submitted: u64,
    /// Of these durable.
    synced: u64,
}

impl Disk {
    /// Whether all that was submitted is durable.
    pub fn is_idle(&self) -> bool {
        self.synced == self.submitted
    }

    /// An empty disk in a world of so many places.
    pub fn new(places: usize) -> Self {
        let empty = Content { objects: vec![None; places], prints: vec![Cell::new(None); places] };
        Self {
            durable: empty.clone(),
            newest: empty,
            writing: Vec::new(),
            waiting: Vec::new(),
            submitted: 0,
            synced: 0,
        }
    }

    /// Whether the newest of a place is durable.
    pub fn is_durable(&self, place: Place) -> bool {
        let of = |content: &Content| content.objects[usize::from(place)].as_ref().map(Arc::as_ptr);
        of(&self.newest) == of(&self.durable)
    }

    /// Hands a record to the journal; returns its number.
    pub fn submit(&mut self, record: Record) -> u64 {
        self.newest.apply(&record);
        self.waiting.push(record);
        self.submitted += 1;
        self.submitted
    }

    /// The number of the last record that is durable.
    pub fn synced(&self) -> u64 {
        self.synced
    }

    /// Begins to sync the next group; false where one is under way or nothing waits.
    pub fn begin(&mut self) -> bool {
        if !self.writing.is_empty() || self.waiting.is_empty() {
            return false;
        }
        std::mem::swap(&mut self.writing, &mut self.waiting);
        true
    }

    /// The group under way is durable.
    pub fn end(&mut self) {
        self.synced += self.writing.len() as u64;
        for record in self.writing.drain(..) {
            self.durable.apply(&record);
        }
    }

    /// What a place held is gone, though nobody wrote that.
    pub fn lose(&mut self, place: usize) {
        self.durable.objects[place] = None;
        self.newest.objects[place] = None;
    }

    /// The process dies. The group under way may have reached the disk all the same. Returns how many records are lost.
    pub fn crash(&mut self, last_group_written: bool) -> u64 {
        if last_group_written {
            self.end();
        }
        let lost = self.submitted - self.synced;
        self.writing.clear();
        self.waiting.clear();
        self.newest = self.durable.clone();
        self.synced = self.submitted;
        lost
    }
}
