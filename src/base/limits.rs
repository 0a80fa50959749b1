//! Every limit of the product, each with the reason for its number. Users meet some of them: those are in the README.

use std::time::Duration;

mod alarms;
mod books;
mod control;
mod crashes;
mod peers;
mod repair;

pub use alarms::*;
pub use books::*;
pub use control::*;
pub use crashes::*;
pub use peers::*;
pub use repair::*;

/// Partitions of the ring. A power of two so that a partition is the top byte of a hash; 256 leaves about 28 per
/// owner at nine nodes, enough for an even spread, few enough that a scan over all of them stays cheap.
pub const PARTITIONS: usize = 256;

/// Bytes in a key, after percent-decoding. Fits a path segment of every client; keeps index blocks useful.
pub const KEY_BYTES_MAX: usize = 1024;

/// Bytes in a bucket's name: the longest DNS label, so that a name can become one.
pub const BUCKET_NAME_BYTES_MAX: usize = 63;

/// Bytes in a value. A commit group of a few of these still syncs within the latency budget.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;

/// Bytes in a content type. Longer ones are not media types but attempts at something else.
pub const CONTENT_TYPE_BYTES_MAX: usize = 255;

/// Concurrent values kept for one key; beyond it a writer is told to merge (409) rather than let the set grow.
pub const SIBLINGS_MAX: usize = 64;

/// Operation ids from an `Idempotency-Key` kept with one object (HOUSE decision 10).
pub const KEYED_OPS_MAX: usize = 32;

/// Random operation ids kept with one object: they guard against forwards and retries among nodes of the last seconds.
/// A hot key would otherwise carry thousands of them into every record.
pub const RANDOM_OPS_MAX: usize = 16;

/// How long an `Idempotency-Key` is remembered: longer than any client's retry loop.
pub const KEYED_OP_TTL: Duration = Duration::from_secs(600);

/// Bytes in an `Idempotency-Key`: two UUIDs and a prefix.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;

/// How long after its start a node takes every operation that it finds noted for remembered: whoever was answered by the
/// life before has tried again by then.
pub const MEMORY_GRACE: Duration = Duration::from_secs(30);

/// The whole time one request may take on this node; also how long its random operation id stays known.
pub const OPERATION_BUDGET: Duration = Duration::from_secs(10);

/// The longest TTL: ten years in milliseconds; more is a unit mistake.
pub const TTL_MS_MAX: u64 = 10 * 366 * 24 * 3600 * 1000;

/// Replicas of a bucket.
pub const REPLICAS_MAX: u8 = 9;

/// Rows of one list page.
pub const LIST_PAGE_MAX: usize = 1000;

/// Rows of one page of the console's tables: two screens of a large display, and within the page's weight.
pub const PAGE_ROWS_MAX: usize = 100;

/// Bytes of the rows of such a page: a key of 1 KiB is up to 3 KiB in the address of its page. A hundred keys
/// like UUIDs fit; with everything around and loaded the page stays within 150 KiB.
pub const PAGE_ROWS_BYTES_MAX: usize = 32 * 1024;

/// Bytes that the page of one key has for what depends on the key: addresses, values, editor. What every page loads and
/// the frame of this one take about 75 KiB of the 150 KiB that a page may weigh.
pub const PAGE_KEY_BYTES_MAX: usize = 72 * 1024;
/// Bytes of markup around one value on that page, without its addresses.
pub const VALUE_MARKUP_BYTES: usize = 1200;

/// Bytes of text that the console shows of the values of one key, all siblings together and as they are sent: a person
/// reads the beginning, and downloads the rest.
pub const PREVIEW_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a value that it shows as a hex dump, which takes four times their number.
pub const HEX_BYTES_MAX: usize = 4 * 1024;
/// Bytes of a text that can be edited in a page; larger ones are changed in an editor and put.
pub const EDIT_BYTES_MAX: usize = 24 * 1024;

/// Bytes of an HTTP request's head.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Time a client has to send its request's head.
pub const HEAD_READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for a TLS handshake: two or three round trips, even by satellite.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of a PEM file: TLS sends at most 64 KiB of certificates, and PEM is a third larger than they are.
pub const PEM_BYTES_MAX: usize = 96 * 1024;

/// Bytes of the authorities that a client is given: the whole list of a Linux distribution is 220 KiB.
pub const AUTHORITIES_BYTES_MAX: usize = 1024 * 1024;

/// How long a server certificate of our own is valid: browsers refuse more than 398 days. Renewed in its last third.
pub const SERVER_CERTIFICATE_VALID: Duration = Duration::from_secs(397 * 24 * 3600);

/// How long before its making it is already valid, for clients whose clocks are behind.
pub const SERVER_CERTIFICATE_BACKDATE: Duration = Duration::from_secs(2 * 24 * 3600);

/// Names and addresses of one server certificate: a host of many containers has dozens, and each handshake carries all.
pub const SERVER_NAMES_MAX: usize = 64;

/// A customer's certificate that ends sooner than this is an alarm: time for an authority made of people.
pub const CERTIFICATE_WARN: Duration = Duration::from_secs(30 * 24 * 3600);

/// How often it is looked at whether the server certificate still fits: an address by DHCP is shown soon after.
pub const CERTIFICATE_CHECK_EVERY: Duration = Duration::from_secs(10);

/// Bytes of a configuration file; the longest honest one has a few thousand.
pub const CONFIG_BYTES_MAX: usize = 256 * 1024;

/// Bytes of a file with one secret in its first line.
pub const SECRET_FILE_BYTES_MAX: usize = 64 * 1024;

/// How long an HTTP/1 connection may rest between two requests, and an HTTP/2 one without any: longer than the minute's
/// beat of most devices would be kind, but they reconnect in one round trip, and a minute is what proxies expect.
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(60);

/// Time between two pieces of a request's body; a slower sender holds memory for nothing.
pub const BODY_STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a request's body may take before its rate is judged: small ones over a bad radio come in bursts.
pub const BODY_GRACE: Duration = Duration::from_secs(20);

/// Bytes a second of a request's body after [`BODY_GRACE`]: a third of what the slowest radio in use (NB-IoT) sends.
pub const BODY_BYTES_PER_S_MIN: u64 = 1024;

/// How long a reader may take nothing of an answer that is ready for it before its connection is cut.
pub const ANSWER_STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes a second that a reader must take of an answer once it has kept it waiting for [`ANSWER_STALL_TIMEOUT`] in all.
pub const ANSWER_BYTES_PER_S_MIN: u64 = 1024;

/// How long a reader may keep an answer waiting while others need its room.
pub const ANSWER_PATIENCE: Duration = Duration::from_secs(1);

/// Bytes of an answer handed to an HTTP/1 connection at a time: what is not yet handed on is counted and can be cut.
pub const ANSWER_PIECE_BYTES: usize = 64 * 1024;

/// Bytes of answers held in memory at once, small ones not counted: four of the largest batches.
pub const ANSWER_BYTES_IN_FLIGHT_MAX: usize = 96 * 1024 * 1024;

/// Answers waiting at once for room among those in flight; each is in memory already.
pub const ANSWERS_WAITING_MAX: usize = 32;

/// Bodies and answers up to this size have room of their own, so that slow large ones cannot stop small ones.
pub const SMALL_BYTES: usize = 16 * 1024;

/// Bytes the kernel may hold of one connection's unsent answer (it takes twice this): enough for 1 MiB/s over 50 ms; a
/// thousand readers that stopped hold 128 MiB and not the 4 GiB that it would let them have.
pub const SEND_BUFFER_BYTES: u32 = 64 * 1024;

/// How long a refused sender may go on sending before its connection is cut: time to notice the answer.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections served at once. Each idle one costs about 20 KiB, over TLS 32; past this the ones that rested longest make
/// room.
pub const CONNECTIONS_MAX: usize = 10_000;

/// Connections of one address (of IPv6: one /64) at once: a tenth of all, so that no single one can fill the house, and
/// enough for a site behind one address. Past it, its own idlest makes room. Loopback has no such limit: who is there
/// is on this machine already, and it is where a proxy stands.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 1000;

/// Connections waiting to be accepted: as many as may begin while a burst is worked off.
pub const LISTEN_QUEUE: u32 = 4096;

/// Open files that are not connections: segments, tables of the index, sockets of our own.
pub const OPEN_FILES_RESERVE: usize = 512;

/// Connections of the node's owner at once, through the control socket, beside all others: it always works.
pub const OWNER_CONNECTIONS_MAX: usize = 64;
/// Streams among them, of events and of live pages. A stream holds its connection as long as somebody looks, so these leave
/// as many connections again to what the owner wants to know or do meanwhile, the long jobs among it.
pub const OWNER_STREAMS_MAX: usize = OWNER_CONNECTIONS_MAX / 2;

/// Requests inside the door at once; the next one is answered 503 with Retry-After at once instead of queueing.
pub const REQUESTS_MAX: usize = 1024;

/// HTTP/2 streams of one connection.
pub const H2_STREAMS_MAX: u32 = 128;

/// HTTP/2 streams that a client may open and take back before they are served, and errors it may make with streams, before
/// its connection is closed: an honest one that gives up has a few.
pub const H2_RESETS_MAX: usize = 16;

/// HTTP/2 frames of the kinds PING and SETTINGS that a client may send within [`H2_CONTROL_FRAMES_EVERY`]; past it the
/// connection ends. Each costs an answer and asks for nothing. An honest client sends one every few seconds, a proxy
/// one with each request that it takes back: all streams of a connection every second are some 1,300; a flood is a
/// hundred thousand.
pub const H2_CONTROL_FRAMES_MAX: u32 = 4000;
/// See [`H2_CONTROL_FRAMES_MAX`].
pub const H2_CONTROL_FRAMES_EVERY: Duration = Duration::from_secs(10);

/// Bytes that one HTTP/2 stream, and one HTTP/2 connection, may send ahead of being read.
pub const H2_STREAM_WINDOW_BYTES: u32 = 128 * 1024;
/// See [`H2_STREAM_WINDOW_BYTES`].
pub const H2_CONNECTION_WINDOW_BYTES: u32 = 512 * 1024;
/// Bytes of one HTTP/2 stream's answer handed to the connection at a time: one frame.
pub const H2_PIECE_BYTES: usize = 16 * 1024;

/// Lists being made at once: each asks all partitions and keeps a thread meanwhile; further ones wait for their turn.
pub const LISTS_MAX: usize = 32;
/// Questions of other nodes for rows that are answered at once, apart from lists of this node's own: were they to wait for
/// the same turns, two nodes full of lists would wait for each other.
pub const ROWS_ANSWERED_MAX: usize = 32;
/// Rows in one answer to such a question: a full page and the dead among it; a longer one would be held for longer.
pub const ROWS_MAX: usize = 2 * LIST_PAGE_MAX;
/// Bytes of them: a quarter of a frame, so that they hold up little on a lane. A row that is larger goes alone.
pub const ROWS_BYTES: usize = 512 * 1024;
/// How long an owner may take for an answer with rows: its index may have to follow its journal first. Whoever is dead is
/// noticed sooner, by its connection, and another owner has as long again.
pub const ROWS_BUDGET: Duration = Duration::from_secs(4);
/// Entries of an export that are looked for at a time on this node: so many that each partition is entered seldom, so few
/// that they take some MiB at most.
pub const EXPORT_AHEAD: usize = 4 * ROWS_MAX;
/// How often one step of a list begins again because the layout has moved on: each time it has come as far as the owner
/// that refused.
pub const ROWS_STALE_MAX: usize = 8;

/// Exports, imports and examinations at once: long work must not keep all threads from short work.
pub const LONG_JOBS_MAX: usize = 16;

/// Bytes of all small request bodies held in memory at once.
pub const SMALL_BODY_BYTES_IN_FLIGHT_MAX: usize = 32 * 1024 * 1024;

/// Bytes of all other request bodies held in memory at once.
pub const BODY_BYTES_IN_FLIGHT_MAX: usize = 64 * 1024 * 1024;

/// Bytes of a JSON request document (bucket, token, user): far above any honest one.
pub const DOCUMENT_BYTES_MAX: usize = 64 * 1024;

/// Nesting of a JSON request document.
pub const JSON_DEPTH_MAX: usize = 64;

/// Bytes of a batch request: sixteen largest values with their base64 and JSON around them would not fit, 5 do.
pub const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of values in the answer of one batch: a thousand largest values would be gigabytes.
pub const BATCH_ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Operations of one batch.
pub const BATCH_OPS_MAX: usize = 1000;

/// Bytes of one import row: a value and its JSON or CSV quoting.
pub const IMPORT_ROW_BYTES_MAX: usize = 2 * VALUE_BYTES_MAX;

/// Columns of an imported CSV file.
pub const IMPORT_COLUMNS_MAX: usize = 1024;
/// Bytes of their names together: the header is control state, which every node holds whole in memory.
pub const IMPORT_HEADER_BYTES_MAX: usize = 64 * 1024;

/// Rows of an import written before the importer waits for the oldest half of them: two commit groups in the making.
pub const IMPORT_ROWS_IN_FLIGHT: usize = 512;

/// Errors an import lists; further ones are only counted.
pub const IMPORT_ERRORS_MAX: usize = 100;

/// Buckets, tokens and users of a cluster: control state is held whole in memory on every node.
pub const BUCKETS_MAX: usize = 1000;
/// See [`BUCKETS_MAX`].
pub const TOKENS_MAX: usize = 10_000;
/// See [`BUCKETS_MAX`].
pub const USERS_MAX: usize = 1000;

/// A sentence: why a node is drained.
pub const DRAIN_REASON_BYTES_MAX: usize = 200;
/// Nodes of a cluster that are not removed: gossip and layout are made for tens, and a list of owners has nine.
pub const NODES_MAX: usize = 64;
/// Removed nodes that are remembered by name; their ids are not given again in any case.
pub const GRAVES_MAX: usize = 256;
/// Addresses at which one node is reached: those of a machine with several networks, inside and outside.
pub const NODE_ADDRESSES_MAX: usize = 8;
/// Bytes of one: the longest DNS name, a colon and a port, and room for brackets and a zone.
pub const NODE_ADDRESS_BYTES_MAX: usize = 270;
/// Bytes of the URL at which devices reach a node.
pub const NODE_URL_BYTES_MAX: usize = 512;
/// Bytes in the name of a release.
pub const RELEASE_BYTES_MAX: usize = 64;
/// The share of a node of which nobody said another: enough for finer ones below it.
pub const NODE_WEIGHT_DEFAULT: u32 = 100;
/// The largest share: a million gibibytes of one machine.
pub const NODE_WEIGHT_MAX: u32 = 1_000_000;

/// Invites that wait to be used, or were used and have not expired.
pub const INVITES_MAX: usize = 64;
/// The longest that one may hold: a token that lies in a mailbox must not open the cluster for ever.
pub const INVITE_TTL_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Bytes of one packet of the membership protocol. A constant of the protocol, not a setting: nodes that differ in it would
/// hear each other in one direction only. Below what one packet of any network carries.
pub const SWIM_PACKET_BYTES: usize = 1100;
/// Bytes of one message between memberships: a packet and what the sender says of itself.
pub const MEMBER_MESSAGE_BYTES_MAX: usize = 1536;
/// Messages of a membership that wait to be sent: a few to every node. Beyond it the oldest goes, as a network would drop
/// it.
pub const MEMBER_MESSAGES_WAITING_MAX: usize = 4 * NODES_MAX;
/// How often a node asks one other whether it lives; each other is asked in turn (HOUSE decision 17).
pub const PROBE_EVERY: Duration = Duration::from_millis(500);
/// How long it waits for the answer before it asks others to ask: far above a round trip between sites.
pub const PROBE_ANSWER: Duration = Duration::from_millis(250);
/// How long a suspect may take to object, for an observer in good health; each point of bad health adds as much.
pub const SUSPICION: Duration = Duration::from_secs(3);
/// The worst that a node may think of its own health.
pub const HEALTH_SCORE_MAX: u8 = 7;
/// A turn of the loop that comes later than this is a sign of bad health: two missed answers.
pub const LAG_UNHEALTHY: Duration = Duration::from_millis(200);
/// A turn that comes later than this was a pause: what was due meanwhile is put off by as much.
pub const LAG_PAUSE: Duration = Duration::from_millis(500);
/// Healthy time that takes one point of bad health away.
pub const HEALTH_RECOVERS: Duration = Duration::from_secs(5);
/// The first and the longest wait between two knocks at a node that is not heard: it is knocked at for ever.
pub const KNOCK_FIRST: Duration = Duration::from_secs(1);
/// See [`KNOCK_FIRST`].
pub const KNOCK_LONGEST: Duration = Duration::from_secs(8);
/// How long a node that said that it restarts is not called down: a start replays its journal first.
pub const RESTART_PATIENCE: Duration = Duration::from_secs(60);
/// How often a node that goes says so, as long as it is there: the first time may get lost.
pub const GOODBYE_EVERY: Duration = Duration::from_millis(100);
/// How often a membership looks at itself where nothing else happens.
pub const MEMBER_BEAT: Duration = Duration::from_secs(1);

/// Characters of a join token: as many addresses as a node may have, each of the longest, in base64.
pub const JOIN_TOKEN_CHARS_MAX: usize = 4096;

/// Bytes in the name of a token or a user.
pub const NAME_BYTES_MAX: usize = 64;

/// Bytes in a password: above this argon2 would be a way to burn processor time.
pub const PASSWORD_BYTES_MAX: usize = 256;
/// Characters in a password, at least (ASVS 6.2.1).
pub const PASSWORD_CHARS_MIN: usize = 8;

/// How long a browser stays signed in: a working day, with its breaks.
pub const SESSION_TTL: Duration = Duration::from_secs(12 * 3600);
/// Sessions of one user; the oldest ends when another begins. Enough for every browser of a person.
pub const USER_SESSIONS_MAX: usize = 16;

/// One-time sign-in links that wait to be used; each is asked for by an admin.
pub const SIGN_IN_LINKS_MAX: usize = 64;
/// How long a sign-in link is good where nothing else is asked for: time to carry it to a browser.
pub const SIGN_IN_LINK_TTL: Duration = Duration::from_secs(15 * 60);
/// The longest that may be asked for.
pub const SIGN_IN_LINK_TTL_MAX: Duration = Duration::from_secs(24 * 3600);

/// Passwords hashed at once: each takes 19 MiB and a processor for tens of milliseconds.
pub const PASSWORD_HASHES_MAX: usize = 2;
/// Further ones that wait for their turn, about a second of work; the next is answered 503. More than an address has
/// free attempts, so that no single one fills it.
pub const PASSWORD_HASHES_WAITING_MAX: usize = 32;

/// Failed sign-ins of one account from one address before each costs a wait: typing mistakes are free.
pub const SIGN_IN_FREE_PER_ACCOUNT: u32 = 5;
/// The longest wait for one account from one address: about 300 guesses a day.
pub const SIGN_IN_WAIT_PER_ACCOUNT_MAX: Duration = Duration::from_secs(300);
/// Failed sign-ins of one address before each costs a wait: several people may share it.
pub const SIGN_IN_FREE_PER_ADDRESS: u32 = 20;
/// The longest wait of one address: others behind it must get a turn.
pub const SIGN_IN_WAIT_PER_ADDRESS_MAX: Duration = Duration::from_secs(60);
/// The first wait; each further failure doubles it.
pub const SIGN_IN_WAIT_FIRST: Duration = Duration::from_secs(1);
/// Failures are forgotten after this much quiet: longer than any wait.
pub const SIGN_IN_FORGET: Duration = Duration::from_secs(1800);
/// Accounts and addresses remembered for it, about 2 MiB; beyond it the one not seen for longest is forgotten.
pub const SIGN_IN_RECORDS_MAX: usize = 20_000;

/// Lines of the log about refused callers within [`LOG_REFUSALS_EVERY`]; the next one counts the rest.
pub const LOG_REFUSALS_MAX: u32 = 10;
/// See [`LOG_REFUSALS_MAX`].
pub const LOG_REFUSALS_EVERY: Duration = Duration::from_secs(60);

/// Entries that are kept of each chain of the audit, about 3 MiB on every node; older ones are in backups, and in the
/// logs as long as those are kept.
pub const AUDIT_ENTRIES_MAX: usize = 10_000;
/// Entries of one page of the audit.
pub const AUDIT_PAGE_MAX: usize = 1000;
/// At most one entry a minute tells of the failed sign-ins of one account from one address; the next counts the rest.
pub const AUDIT_FAILURES_EVERY: Duration = Duration::from_secs(60);
/// Accounts and addresses told apart in that; the others count together, so that nobody floods the audit.
pub const AUDIT_FAILURES_APART_MAX: usize = 8;

/// Bytes of the journal's first segment: small, because a start on an empty directory waits for its zeros to be synced.
pub const FIRST_SEGMENT_BYTES: u64 = 1024 * 1024;

/// Bytes of every later segment, filled in the background: about a second of writing at full speed.
pub const SEGMENT_BYTES: u64 = 32 * 1024 * 1024;

/// Bytes that a file of ours may have to have: tables of the index and its journal have 64 MiB, segments of the journal 32, and
/// what is written before it is split is somewhat more.
pub const FILE_BYTES_NEEDED: u64 = 128 * 1024 * 1024;

/// Bytes of one commit group: several largest values, a small part of a segment.
pub const GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of the record of an object that a write leaves: two largest values beside each other and what is remembered of
/// them. A key with more has to be read and merged by its writers.
pub const RECORD_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Bytes of one journal record: what the owners of a key took each for itself while they did not hear of each other must
/// fit together, or they would never agree again. Within a segment.
pub const MERGED_BYTES_MAX: usize = REPLICAS_MAX as usize * RECORD_BYTES_MAX;

/// Bytes waiting for the journal's writer before new writes are refused with 503.
pub const JOURNAL_QUEUE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Bytes acked but not yet in the index before new writes are refused with 503 (they live in memory).
pub const OVERLAY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long the journal must be idle before the mark behind the last group is synced (HOUSE decision 5).
pub const JOURNAL_MARK_IDLE: Duration = Duration::from_millis(10);

/// The longest the journal's writer waits for the writers of the last group to come back before it starts the next.
/// Measured: a group of 20 and more keeps the cost of a sync per write below that of the request around it.
pub const GROUP_GATHER_MAX: Duration = Duration::from_micros(1500);

/// Journal written since the index was last proven before it is proven again, so that replay stays about a second.
pub const CHECKPOINT_BYTES: u64 = 64 * 1024 * 1024;

/// Idle time after which unproven writes are flushed: frees the memtables' memory and makes the next start instant.
pub const CHECKPOINT_IDLE: Duration = Duration::from_secs(5);

/// The index writer may make no progress for this long before an alarm is raised: far above any compaction stall.
pub const INDEX_STALL_ALARM: Duration = Duration::from_secs(5);
/// After this the process ends so that a fresh start replays the journal; fjall has known ways to hang for ever.
pub const INDEX_STALL_EXIT: Duration = Duration::from_secs(60);

/// fjall's block cache.
pub const INDEX_CACHE_BYTES: u64 = 32 * 1024 * 1024;
/// fjall's memtable: small, because it is memory that an idle node would keep.
pub const INDEX_MEMTABLE_BYTES: u64 = 8 * 1024 * 1024;

/// Free space below which writes are refused: two segments, a compaction's copy and room for a crash report.
pub const DISK_RESERVE_BYTES: u64 = 256 * 1024 * 1024;
/// Files that can still be made below which writes are refused: a node makes some hundreds by itself, which are segments,
/// tables of a compaction, segments of logs, and crash reports. Of a file system that has room for few, a tenth at most.
pub const FILES_RESERVE: u64 = 512;
/// Files that can still be made below which the index proves nothing: that makes some tables and a list of them. It goes on
/// above, because it also lets old segments of the journal go.
pub const PROOF_FILES: u64 = 32;
/// How often free space is looked at: at full speed about 30 MiB are written in between.
pub const DISK_CHECK_EVERY: Duration = Duration::from_millis(500);

/// Requests between two looks at the disk below which the node rests, probes and scrapes included: memory that a burst
/// before took goes back then.
pub const RESTING_REQUESTS_MAX: u64 = 20;

/// How long a start waits for a data directory that another process holds: one that was killed lets go of it only when
/// its last disk write has ended.
pub const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// How long a stop waits for requests in flight.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// Requests a second that a load run may ask for: more than two of the fastest machines would exchange.
pub const LOAD_RATE_MAX: u32 = 1_000_000;
/// Seconds of a load run: a day, the longest cycle of a site.
pub const LOAD_SECONDS_MAX: u64 = 24 * 3600;
/// Connections of a load run: as many as a node serves at once.
pub const LOAD_CONNECTIONS_MAX: usize = CONNECTIONS_MAX;
/// Simulated devices: ids of twelve digits still fit a key many times over.
pub const LOAD_DEVICES_MAX: u64 = 1_000_000_000_000;
/// How long a load run waits for an answer: longer than a node may take (`OPERATION_BUDGET`), so that a node's own
/// refusal is seen.
pub const LOAD_ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// The largest latency a load run tells from larger ones: a request that was due an hour ago is late enough.
pub const LOAD_LATENCY_MAX: Duration = Duration::from_secs(3600);
/// How often a node writes down what it counted; also the beat of the console's live figures: fast enough to watch, slow
/// enough that an idle node stays idle.
pub const SAMPLE_EVERY: Duration = Duration::from_secs(5);
/// Samples kept at that pace: fifteen minutes, about 35 KiB.
pub const SAMPLES_FINE: usize = 180;
/// How often one is kept for longer.
pub const SAMPLE_COARSE_EVERY: Duration = Duration::from_secs(60);
/// Samples kept at that pace: a day, about 280 KiB.
pub const SAMPLES_COARSE: usize = 1440;
/// Samples over which the figures of "the last minute" reach.
pub const SAMPLES_LAST_MINUTE: usize = 12;

/// History that a forecast of the disk needs: with less, one preallocated segment would look like a trend.
pub const FORECAST_HISTORY_MIN: Duration = Duration::from_secs(45 * 60);
/// History that it looks at: a morning tells more about the evening than yesterday does.
pub const FORECAST_WINDOW: Duration = Duration::from_secs(6 * 3600);

/// Nodes in the header that sends a device elsewhere: enough that one of them is there, and within any client's head.
pub const NODES_TOLD_MAX: usize = 4;
/// How long a device may keep the list of nodes: nodes come and go in minutes, and a cache in front should help.
pub const NODES_FRESH: Duration = Duration::from_secs(5);
/// Loads that differ by less, in per cent, are the same to a device that chooses a node: otherwise all of them would go to
/// the idlest one at once.
pub const LOAD_STEP: u8 = 25;

/// Streams of events at once: a few programs of each operator. Apart from the console's, so that neither takes the other's.
pub const EVENT_STREAMS_MAX: usize = 64;
/// Events that a node keeps for those who come back: a day of a cluster that changes, about 300 KiB.
pub const EVENTS_KEPT: usize = 1000;
/// Over this time it is counted how often another node gave no answer.
pub const FLAPS_WINDOW: Duration = Duration::from_secs(60);
/// From so many on it is an alarm: one is a moment's load, and two may be the same one seen by two.
pub const FLAPS_MIN: usize = 3;
/// Who said something of itself within this time is heard: what a node says goes with each of its messages, several a second,
/// and nobody is called down before having been silent for longer.
pub const HEARD_LATELY: Duration = Duration::from_secs(2);
/// Who has been heard since it was called down is still heard for so long: it knocks more and more seldom at those that it
/// does not hear.
pub const HEARD_STILL: Duration = Duration::from_secs(30);
/// So many machines that all say the same of themselves are said to share the cause: two may have the same accident.
pub const ALIKE_MACHINES_MIN: usize = 3;
/// Machines that an alarm names: what is read at a glance.
pub const ALARM_NAMES_MAX: usize = 5;
/// Another node is called down only when it was not heard for so long since this one knows it: it may be on its way.
pub const UNHEARD_DOUBT: Duration = Duration::from_secs(5);
/// Clocks that differ by more are told of: what is said of a clock is up to six seconds old, and from sixty on writes to
/// buckets of the last writer are refused.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(10);
/// Within this time a node that met the limit of its open files tells of it: whoever waits is accepted again and again.
pub const FILES_MET_WITHIN: Duration = Duration::from_secs(5);
/// Within this time a node to which the system refused a thread tells of it: those that it has go on, and what needs one
/// more is seldom tried.
pub const THREADS_MET_WITHIN: Duration = Duration::from_secs(60);
/// Over this time requests whose token is refused are counted.
pub const ACCESS_REFUSED_WINDOW: Duration = Duration::from_secs(60);
/// In steps of this.
pub const ACCESS_REFUSED_STEP: Duration = Duration::from_secs(5);
/// Fewer in that window are no alarm: four broken devices that try again each second make 240, a person who mistypes a few.
pub const ACCESS_REFUSED_MIN: u64 = 300;
/// Nor are those of fewer steps: a program that is stopped within ten seconds is mended already.
pub const ACCESS_REFUSED_STEPS_MIN: usize = 3;
/// When there was none for so long they are over: devices that have no way in try again within seconds.
pub const ACCESS_REFUSED_OVER: Duration = Duration::from_secs(15);
/// Addresses that are counted apart in each step: of more it is only told that there are. Below 40 KiB in all.
pub const ACCESS_REFUSED_ADDRESSES: usize = 64;
/// Over this time it is looked how late what was to run ran.
pub const STARVED_WINDOW: Duration = Duration::from_secs(10);
/// How often it is looked for how long a limit held this process back: some times in that window.
pub const HELD_BACK_EVERY: Duration = Duration::from_millis(500);
/// Of one gap so much counts: whoever is stopped for a minute has one, whoever is held back has many.
pub const LATE_AT_ONCE: Duration = Duration::from_secs(1);
/// Hundredths of it from which on a node gets too little of its processor: with two programs for each core it is late for a
/// tenth of the time.
pub const STARVED_PERCENT: u64 = 40;
/// Hundredths from which on slow syncs are no matter of the disk: who asks for one is late as well.
pub const LATE_PERCENT: u64 = 20;
/// One sync of a hundred may take so long: four times what a worn disk of a small machine takes.
pub const SLOW_SYNC: Duration = Duration::from_millis(500);
/// Syncs in the window below which nothing is said: one slow one of a few is no habit.
pub const SLOW_SYNCS_MIN: u64 = 20;
/// Looks at the syncs' times that the window spans: a minute of them.
pub const SYNC_WINDOW_LOOKS: usize = 13;
/// A sync that takes longer is told of while it lasts: the disk hangs.
pub const SYNC_HANGS: Duration = Duration::from_secs(3);
/// What moves and has brought nothing for so long is stuck: a hundred times what a partition without data takes.
pub const TRANSFER_STUCK: Duration = Duration::from_secs(60);
/// Alarms that one node tells another: each kind once for each of many machines.
pub const ALARMS_TOLD_MAX: usize = 256;
/// The disk's end is an alarm when it is nearer: a working day to act in.
pub const FORECAST_ALARM: Duration = Duration::from_secs(24 * 3600);
/// How often a node looks for what nobody tells it of, such as its own alarms.
pub const EVENTS_TICK: Duration = Duration::from_secs(1);

/// Keys that the ring lab tries a change with: a per cent is a hundred of them, and all are counted in milliseconds.
pub const LAB_KEYS: usize = 10_000;
/// Nodes of which the ring lab looks at every state: 4096 of them.
pub const LAB_NODES_MAX: usize = 12;

/// Live streams of the console at once: one to each open page, and each costs a connection.
pub const LIVE_STREAMS_MAX: usize = 64;
/// Machines on one page of the console: 1.2 KiB each, so that it stays within 150 KiB with all it loads, however long the
/// names are.
pub const MEMBERS_ROWS_MAX: usize = 50;
/// Partitions on the page of convergence: enough to see which, and about 15 KiB; `/v1/convergence` has all of them.
pub const CONVERGENCE_ROWS_MAX: usize = 50;
