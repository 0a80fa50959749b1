//! Limits of what goes between nodes: lanes, handoff, hints, membership, joining.

use std::time::Duration;

use crate::base::limits::MERGED_BYTES_MAX;

/// How long a node that did not answer is asked last: it may be back the next second.
pub const SILENCE_REMEMBERED: Duration = Duration::from_secs(1);
/// How long an owner may take to answer a question of the data path: longer than a slow sync, shorter than a request.
pub const ANSWER_BUDGET: Duration = Duration::from_secs(2);
/// How long the owners of a key may take to say what they hold, all of them together: somebody waits for it at a terminal,
/// and is to have the whole answer within two seconds.
pub const WHERE_BUDGET: Duration = Duration::from_millis(1500);
/// How long all nodes together may take to say what they know of what went wrong: as [`WHERE_BUDGET`].
pub const DIAGNOSIS_BUDGET: Duration = Duration::from_millis(1500);
/// Keys that one node remembers one by one for another that missed them; beyond it they are found by comparing whole
/// partitions. About 8 MiB for one silent node.
pub const HINTS_MAX: usize = 100_000;
/// Hints delivered to one node at a time, beside the requests of devices.
pub const HINTS_AT_ONCE: usize = 32;
/// Bytes of objects in one page of a slot on its way: with everything around it, within a frame.
pub const HANDOFF_PAGE_BYTES: usize = 512 * 1024;
/// Objects in one such page, and digests in one of theirs: 40 bytes and a key each.
pub const HANDOFF_PAGE_OBJECTS: usize = 500;
/// Slots that a node merges at a time: it should not be all that it does.
pub const HANDOFFS_AT_ONCE: usize = 4;
/// How often a node looks after its slots, reports and hints when nothing else makes it.
pub const RING_TICK: Duration = Duration::from_millis(200);
/// How long a report is given before it is said again.
pub const REPORT_AGAIN: Duration = Duration::from_secs(1);
/// How long what moves between nodes waits where the own store is busy: about what a slow sync takes.
pub const HANDOFF_BUSY_PAUSE: Duration = Duration::from_millis(20);
/// How long what could not be given up is left alone: the disk is full or an object damaged, and stays so for a while.
pub const FORGET_AGAIN: Duration = Duration::from_secs(5);
/// Bytes of objects a second that come for one slot: a part of what a disk and a line can do, so that devices go first.
pub const HANDOFF_BYTES_PER_SECOND: u64 = 16 * 1024 * 1024;

/// Bytes of a frame between nodes before it is known who sends it: a request to join with a certificate's worth of text.
pub const GUEST_FRAME_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a frame between admitted nodes: a largest value with its siblings' contexts around it, which is nearly all that
/// is ever said at once.
pub const PEER_FRAME_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes of what is said in several frames: the largest object there can be, and words around it.
pub const PEER_MESSAGE_BYTES_MAX: usize = MERGED_BYTES_MAX + 1024 * 1024;
/// Bytes of a frame's body that are made room for at once; more only as they arrive, so that a claimed length costs nothing.
pub const FRAME_STEP_BYTES: usize = 64 * 1024;
/// Bytes read from a peer's connection at a time: one TLS record.
pub const PEER_READ_BYTES: usize = 16 * 1024;
/// Bytes of the sentence with which a peer refuses a connection.
pub const REFUSAL_TEXT_BYTES_MAX: usize = 256;

/// Connections of which it is not yet known who they are, joining ones included until they have asked: a site that starts
/// at once has four for each of its nodes. Past it the oldest of them makes room: an honest one needs milliseconds.
pub const ARRIVALS_MAX: usize = 64;
/// Time for all that lies before a peer is let in; for a guest, its answer included.
pub const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(10);
/// Guests answered at once: each costs a command of the control plane.
pub const GUESTS_MAX: usize = 8;

/// Nodes that a node keeps connections to: far above any site of today, and each is eight connections.
pub const PEERS_MAX: usize = 64;
/// Bytes of one address that a peer says: the longest name there is, and a port.
pub const PEER_ADDRESS_BYTES_MAX: usize = 260;
/// Addresses of one peer: every interface of a machine and a name.
pub const PEER_ADDRESSES_MAX: usize = 16;
/// Frames that wait for a peer on one lane: all that the door lets in, several times.
pub const PEER_QUEUE_FRAMES_MAX: usize = 8192;
/// Bytes that wait for a peer on one lane: a second of a slow disk, or eight of the largest frames. What is longer is taken
/// where nothing else waits.
pub const PEER_QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes that wait on the lane of gossip, whose frames are small and soon worthless.
pub const GOSSIP_QUEUE_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a queue's memory that are kept for the next time.
pub const PEER_QUEUE_BYTES_KEPT: usize = 128 * 1024;
/// Questions to one peer on one lane that wait for their answers: twice what the door lets in.
pub const PEER_CALLS_MAX: usize = 2048;
/// Questions of one peer on one lane that are being answered: as many as it may ask, and as many again that it gave up on.
pub const PEER_QUESTIONS_MAX: usize = 4096;
/// Bytes of those: more than the door of the asking node lets in.
pub const PEER_QUESTION_BYTES_MAX: usize = 96 * 1024 * 1024;

/// Bytes of the kernel's list of neighbours that are read: the thousand that it keeps at most, of 80 bytes each, and some.
pub const NEIGHBOURS_BYTES_MAX: u64 = 128 * 1024;
/// Bytes of the kernel's table of routes that are read: a thousand lines of 128 bytes.
pub const ROUTES_BYTES_MAX: u64 = 128 * 1024;
/// Time for each step of a call to a peer: TCP, then TLS and the first words.
pub const PEER_DIAL_TIMEOUT: Duration = Duration::from_secs(2);
/// The wait after the first call to a peer that failed; doubled with each, with jitter.
pub const PEER_REDIAL_FIRST: Duration = Duration::from_millis(50);
/// The longest wait: a machine that comes back is found within this, for ever; four such calls a peer cost nothing.
pub const PEER_REDIAL_MAX: Duration = Duration::from_secs(2);
/// How long sent bytes may stay unacknowledged by the other kernel before the connection is given up (HOUSE decision 16).
pub const PEER_UNACKED_MAX: Duration = Duration::from_secs(2);
/// How long a connection to a peer may be silent before it is asked for a sign of life.
pub const PEER_PING_EVERY: Duration = Duration::from_millis(500);
/// The last round trips to a peer that are looked at, one each half second: a moment's jam is none.
pub const ROUND_TRIPS_KEPT: usize = 20;
/// How long it may be silent before it is taken for dead: three signs of life late.
pub const PEER_SILENCE_MAX: Duration = Duration::from_secs(2);
/// How long the later of two machines with one node's number must be silent before the earlier is spoken with again: longer
/// than any restart takes, so that the two do not take turns.
pub const TWIN_REMEMBERED: Duration = Duration::from_secs(60);
/// How long an alarm stands after the second of two machines with one number was last heard: it tries far more often.
pub const TWIN_ALARM: Duration = Duration::from_secs(120);
/// How long a stop waits for what is already queued for a peer.
pub const PEER_CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a node that is asked what it remembers may take: it looks it up in memory.
pub const DOUBT_ASK: Duration = Duration::from_millis(500);
/// How long a node that starts waits for the last of those whom it asks what they remember of it, before a majority is enough:
/// longer than the longest wait between two calls to one that lives.
pub const DOUBT_PATIENCE: Duration = Duration::from_secs(3);
/// How often a node that is not certain of itself, or gets back what it lost, looks how far it is.
pub const STANDING_TICK: Duration = Duration::from_millis(100);
/// How often what is remembered of the others' journals is noted on disk, where it changed: one small file, and a sync that
/// no request waits for. What goes back by less than this, together with all who heard more, is not noticed.
pub const MEMORY_EVERY: Duration = Duration::from_secs(1);

/// Pieces of gossip that wait to be taken in: a few for each node of a large cluster.
pub const GOSSIP_QUEUE: usize = 256;
/// How often a node looks after its members, and whether it is late itself.
pub const MEMBERS_TICK: Duration = Duration::from_millis(250);
/// How long a machine knocks at a cluster that does not answer: an operator may paste the token before the firewall opens.
pub const JOIN_PATIENCE: Duration = Duration::from_secs(60);
/// How long a node that was let in waits for the cluster's state before it says why it does not come.
pub const JOIN_STATE_REMINDER: Duration = Duration::from_secs(10);

/// How long an invite opens the cluster where nothing else is said: a working day and a night.
pub const INVITE_TTL: Duration = Duration::from_secs(24 * 3600);
/// Changes in how another node is seen that are remembered for each: the story of one bad night.
pub const TURNS_KEPT: usize = 16;
/// How long handoff is paused where nobody says: a busy hour.
pub const HANDOFF_PAUSE: Duration = Duration::from_secs(3600);
/// How long handoff may be paused: over a weekend. A pause that is forgotten keeps the cluster weak.
pub const HANDOFF_PAUSE_MAX: Duration = Duration::from_secs(72 * 3600);
/// Times that a part of the process may fail within [`RESTARTS_WITHIN`] before all of it is begun anew: with its pauses that is
/// a second and a half, long enough for what was only out of order for a moment.
pub const RESTARTS_MAX: usize = 5;
/// See [`RESTARTS_MAX`].
pub const RESTARTS_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks at how busy tasks and threads are.
pub const TASK_SAMPLE_EVERY: Duration = Duration::from_secs(5);
/// Looks that are remembered: the last minute.
pub const TASK_SAMPLES: usize = 13;
/// Bytes in which a node says how it is inside: some hundred tasks and keys of the configuration take 40 KiB.
pub const INSIDE_BYTES_MAX: usize = 1024 * 1024;
/// Files that are looked at for it, of each kind: beyond it the figure is too small, and the look still short.
pub const INSIDE_FILES_MAX: usize = 20_000;
/// For so long what was seen is shown to all who watch.
pub const INSIDE_FRESH: Duration = Duration::from_millis(900);
/// Steps of a core that its tape keeps. A write with nine owners has nine; what has more is in trouble, and its beginning tells
/// what trouble.
pub const TAPE_STEPS_MAX: usize = 64;
/// Steps of a pull that one of its tapes has: three or four pages, so that most of what came before an end is kept already.
pub const TAPE_PULL_STEPS: usize = 12;
/// Places that a tape which is run again may speak of: more than a page of fingerprints or the places that may differ at once.
pub const TAPE_PLACES_MAX: usize = 65_536;
/// Bytes of a tape that the recorder keeps: a write with nine owners has some 200. What is longer loses its last steps.
pub const RECORDER_TAPE_BYTES_MAX: usize = 488;
/// Tapes of each kind of core: the last requests before an end, and the elections of some minutes. 900 KiB in all.
pub const RECORDER_SLOTS: usize = 256;
