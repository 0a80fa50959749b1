//! Switches that break one rule each, to show that the simulator notices. In the product they are constants, and nothing
//! of them is left; only the simulator's crate is built with the feature `mutants`.

/// One rule, broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// A write is acked with one owner too few.
    AckAtWMinusOne,
    /// A replica acks what it has not synced.
    SkipTheFsync,
    /// A node comes back as the actor it was.
    ReuseAnIncarnation,
    /// A read is answered with one owner too few.
    ReadAtRMinusOne,
    /// Reads ask the new owners before they are synced.
    ReadOnlyTheNewLayout,
    /// A replica takes requests of an older epoch.
    AcceptAStaleEpoch,
    /// A replica counts what became durable after it gave the slot to its new owners.
    CountWhatCameTooLate,
    /// A slot counts as merged while what it rests on is on its way to the disk.
    SyncedBeforeItIsDurable,
    /// An old owner forgets a partition before the new ones are durable.
    ForgetBeforeTheReceiverIsDurable,
    /// A value that fewer than R owners hold is answered without writing it back.
    NoWriteBack,
    /// Of two concurrent values a merge keeps one.
    MergeDropsASibling,
    /// A write that lost to a higher stamp is acked.
    LwwAcksALoser,
    /// An owner that was silent and is to be told later counts as one that holds a write.
    CountAHint,
    /// A grave goes before all owners have it.
    CollectATombstoneEarly,
    /// What anti-entropy brings takes the place of what is there.
    RepairOverwrites,
}

#[cfg(not(feature = "mutants"))]
impl Mutant {
    /// Whether this rule is broken: never in the product.
    #[inline]
    #[must_use]
    pub const fn is_on(self) -> bool {
        false
    }
}

#[cfg(feature = "mutants")]
thread_local! {
    static ON: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

#[cfg(feature = "mutants")]
impl Mutant {
    /// Whether this rule is broken in this thread's simulation.
    #[inline]
    #[must_use]
    pub fn is_on(self) -> bool {
        ON.with(|on| on.get() == Some(self))
    }

    /// Breaks one rule, or none, in this thread from now on.
    pub fn switch(which: Option<Self>) {
        ON.with(|on| on.set(which));
    }
}
