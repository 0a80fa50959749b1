//! Limits of the control group and its voters.

use std::time::Duration;

/// Bytes of the control journal after which a snapshot replaces it.
pub const CONTROL_SNAPSHOT_BYTES: u64 = 512 * 1024;
/// Entries of the control log that stay behind a snapshot: who was away for a moment is brought up to date with them and
/// not with the whole state.
pub const CONTROL_LOG_KEEP: u64 = 64;
/// Bytes of one command: the largest (the header of an import) and all around it, several times; a small part of what a
/// segment of the control journal holds.
pub const CONTROL_COMMAND_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a snapshot of the control state that a node takes from a leader: sixteen times what all limits of its parts
/// lead to in practice.
pub const CONTROL_STATE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of the pieces in which it is sent, and of the entries sent at once: either is on its way for a few
/// milliseconds, so that heartbeats get through between them.
pub const CONTROL_PIECE_BYTES: usize = 256 * 1024;
/// Bytes of one message of the control plane: a piece, or one largest command, with all that is around it.
pub const CONTROL_WORD_BYTES_MAX: usize = 1024 * 1024;
/// Nodes of one control group, voters and learners.
pub const CONTROL_MEMBERS_MAX: usize = 256;
/// Commands under way on one node; the next one is answered 503.
pub const CONTROL_PROPOSALS_MAX: usize = 256;
/// Bytes of the entries sent to a node at once: at 4 Mbit/s they are there before the answer is given up.
pub const CONTROL_LINES_BYTES: usize = 64 * 1024;
/// Between two heartbeats of the control group's leader, and how long it waits for the answer to one: far above a disk's
/// sync and a site's round trip. The library looks every one and a half of these whether one is due.
pub const CONTROL_HEARTBEAT: Duration = Duration::from_millis(150);
/// How long a voter that heard the leader stands by it: three heartbeats as the library sends them. It waits as long once
/// more at most, by a draw: so changes go on about a second and a half after a leader died.
pub const CONTROL_LEASE: Duration = Duration::from_millis(750);
/// The library's own lease, shorter so that a voter that says that it hears no leader also gives its vote then.
pub const CONTROL_LEASE_INNER: Duration = Duration::from_millis(600);
/// How long a candidate waits for a vote, which is synced before it is given.
pub const CONTROL_VOTE_WAIT: Duration = Duration::from_millis(500);
/// A leader whose own write is not durable for this long does not count as one any more (HOUSE decision 14).
pub const CONTROL_STALL_MAX: Duration = Duration::from_secs(2);
/// How long a command waits for a leader with a majority; then it is refused with the reason, within two seconds.
pub const CONTROL_PATIENCE: Duration = Duration::from_millis(1700);
/// How long a command that was logged is waited for; then its outcome is unknown.
pub const CONTROL_COMMIT_WAIT: Duration = Duration::from_secs(3);
/// Between two questions of a node to the leader how far it is: what operators may do needs an answer at most two seconds
/// old, so three may get lost.
pub const CONTROL_CONTACT_EVERY: Duration = Duration::from_millis(500);
/// What only operators and admins may do is refused by a node that was without contact with the control plane for longer:
/// a token that was removed opens nothing there for longer than this.
pub const CONTROL_CONTACT_MAX: Duration = Duration::from_secs(2);
/// How long such a request waits for contact before it is refused: about as long as an election takes, so that one does
/// not refuse operators. With it a refusal comes within two seconds.
pub const CONTROL_CONTACT_PATIENCE: Duration = Duration::from_millis(1500);
/// How often a node looks whether something of the control group is due.
pub const CONTROL_TICK: Duration = Duration::from_millis(50);
/// The same for a node that is alone: for it only snapshots are ever due.
pub const CONTROL_TICK_ALONE: Duration = Duration::from_millis(500);
/// How long a piece of a snapshot may take: the last one is installed before it is answered.
pub const CONTROL_PIECE_WAIT: Duration = Duration::from_secs(10);
/// How long one change of the group may take before it is looked at anew.
pub const CONTROL_CHANGE_WAIT: Duration = Duration::from_secs(5);
/// Entries that a learner may lack and still become a voter: what is under way at any moment.
pub const CONTROL_CAUGHT_UP: u64 = 16;
/// How long `ringfort recover control` asks for other nodes before it takes those that did not answer for lost: several
/// attempts at a connection on a slow line.
pub const RECOVERY_ASK: Duration = Duration::from_secs(3);
/// Between two of these attempts.
pub const RECOVERY_ASK_AGAIN: Duration = Duration::from_millis(200);
/// Between two looks at the file that cuts lanes in a drill (`RINGFORT_TEST_CUT_FILE`): short beside a lease.
pub const CUT_FILE_EVERY: Duration = Duration::from_millis(100);
/// Longest such file: the names of four lanes.
pub const CUT_FILE_BYTES_MAX: u64 = 1024;
/// Between two tries to write an entry for which the disk has no room.
pub const CONTROL_SPACE_RETRY: Duration = Duration::from_millis(500);
